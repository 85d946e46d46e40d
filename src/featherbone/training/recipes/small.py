"""For images of up to 64 pixels and budgets of minutes: Muon, cosine, crops that keep half, mirrored.

Command:  ``featherbone train FOLDER``
Hardware: one thread, beside other work; a ShuffleNet V2 0.5, 5,000 images of CIFAR-10, 10 epochs, 2,000 held out, seed
0: top-1 59.6 %, and 51.6 % with SGD and lr 0.1 (``python benchmarks/learning.py scratch SHARED``).
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(epochs=30, optimizer="muon", lr=0.05, momentum=0.6, crop_min=0.5, flip=0.5)
