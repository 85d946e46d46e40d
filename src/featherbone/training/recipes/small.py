"""For images of up to 64 pixels and budgets of minutes: SGD, cosine, crops that keep half, mirrored.

Command:  ``featherbone train FOLDER``
Hardware: two cores of a Xeon with AMX; 5,000 CIFAR-10 images, 15 epochs, 194 s: top-1 51.3 % of 1,000, with the initial
weights of an earlier version
(``python benchmarks/cifar10_folder.py DATA --epochs 15``).
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(epochs=30, crop_min=0.5, flip=0.5)
