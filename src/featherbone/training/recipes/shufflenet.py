"""ShuffleNet's (arXiv 1707.01083, sec. 4; V2 the same): 300,000 steps of 1,024 images, lr 0.5 falling linearly to zero.

Label smoothing and no decay of norms and biases are those of the authors' re-training code; so is the mild scaling:
crops keep at least a quarter of the area.

Command:  ``featherbone train IMAGENET --model shufflenet_v2_x1_0 --recipe shufflenet``
Hardware: not run to its end here. The V2 paper reports 30.6 % errors on ImageNet for this network.
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(
    epochs=240,  # 300,000 steps of 1,024 of ImageNet's 1,281,167 images
    batch_size=1024,
    lr=0.5,
    warmup=0.0,
    schedule="linear",
    weight_decay=4e-5,
    label_smoothing=0.1,
    crop_min=0.25,
    flip=0.5,
    crop_pct=0.875,
)
