"""For boxes, from trained weights: AdamW, cosine, mosaics, sizes and colours varied, averaged weights.

Command:  ``featherbone train DATA --weights BACKBONE``
Hardware: one thread of an EPYC with AVX-512, beside other work; BCCD's 205 blood cell images at 416 pixels, ShuffleNet
V2 1.0 of NanoDet-m, 60 epochs, seed 0, 31 minutes: AP50 0.888, AP 0.568 on its test split.
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(
    epochs=60,
    batch_size=16,
    optimizer="adamw",
    lr=1e-3,
    warmup=0.05,
    weight_decay=0.05,
    clip_grad=10.0,
    ema_decay=0.998,
    flip=0.5,
    mosaic=0.5,
    scale=0.4,
    color_jitter=0.2,
)
