"""For images of up to 64 pixels and budgets of minutes: Muon, cosine, crops that keep half, mirrored.

Command:  ``featherbone train FOLDER``
Hardware: see docs/training.md, "What decided the defaults".
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(epochs=30, optimizer="muon", lr=0.05, momentum=0.6, crop_min=0.5, flip=0.5)
