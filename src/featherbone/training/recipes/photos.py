"""For photographs in small numbers: SGD, cosine, crops that keep a quarter, mirrored; start from trained weights.

Command:  ``featherbone train FOLDER --weights FILE``
Hardware: not measured yet.
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(epochs=30, batch_size=32, lr=0.05, crop_min=0.25, flip=0.5, crop_pct=0.875)
