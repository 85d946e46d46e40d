"""For boxes, in small or large numbers: AdamW, cosine, mosaics, sizes and colours varied, averaged weights.

Command:  ``featherbone train DATA --weights BACKBONE``
Hardware: two cores of a Xeon with AMX; not run to its end yet.
"""

from featherbone.train.recipe import Recipe

RECIPE = Recipe(
    epochs=60,
    batch_size=16,
    optimizer="adamw",
    lr=1e-3,
    warmup=0.05,
    weight_decay=0.05,
    clip=10.0,
    averaging=0.998,
    flip=0.5,
    mosaic=0.5,
    zoom=0.4,
    jitter=0.2,
)
