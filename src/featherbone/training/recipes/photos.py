"""For photographs in small numbers, from scratch: SGD, cosine, crops that keep a quarter, mirrored.

Command:  ``featherbone train FOLDER``
Hardware: its learning rate is not measured yet; from trained weights "transfer" is measured to be better.
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(epochs=30, batch_size=32, lr=0.05, crop_min=0.25, flip=0.5, crop_pct=0.875)
