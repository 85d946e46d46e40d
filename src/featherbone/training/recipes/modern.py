"""A recipe of today for any of the networks: AdamW, cosine, RandAugment, mixup or cutmix, erasing, averaged weights.

Made of parts that are usual since 2021 (Wightman et al., arXiv 2110.00476, and after); the values are ours.

Command:  ``featherbone train DATA --recipe modern``
Hardware: not run on a large set here.
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(
    epochs=100,
    batch_size=256,
    optimizer="adamw",
    lr=2e-3,
    warmup=0.05,
    weight_decay=0.05,
    clip_grad=1.0,
    ema_decay=0.9995,
    crop_min=0.25,
    flip=0.5,
    rand_augment=9,
    random_erasing=0.25,
    mixup=0.2,
    cutmix=1.0,
    crop_pct=0.95,
)
