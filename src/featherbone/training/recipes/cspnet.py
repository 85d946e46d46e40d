"""CSPNet's on ImageNet (the released csresnext50.cfg): 800,000 steps of 128 images, lr 0.1, polynomial of power 4.

The lr rises over the first 1,000 steps. Darknet also changes hue, saturation, exposure and aspect; here crops change
the aspect, and colours stay.

Command:  ``featherbone train IMAGENET --model cspresnext50 --recipe cspnet --size 256``
Hardware: not run to its end here. The paper reports 22.1 % errors on ImageNet for this network.
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(
    epochs=80,  # 800,000 steps of 128 of ImageNet's 1,281,167 images
    batch_size=128,
    lr=0.1,
    warmup=0.00125,
    schedule="polynomial",
    power=4.0,
    weight_decay=5e-4,
    label_smoothing=0.0,
    crop_min=0.25,
    flip=0.5,
    rotation=7.0,
    crop_pct=0.875,
)
