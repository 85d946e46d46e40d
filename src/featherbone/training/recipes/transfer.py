"""For photographs in small numbers, from trained weights: SGD with a tenth of the usual learning rate, cosine, crops.

A network that knows something forgets it in steps as large as those from scratch.

Command:  ``featherbone train FOLDER --weights FILE``
Hardware: one thread, beside other work; a ShuffleNet V2 0.5 with ImageNet weights, 2,000 photographs of 10 classes at
112 pixels, 4 epochs, 1,000 held out, seed 0: top-1 81.3 %, and 59.0 % with the lr of "photos"
(``python benchmarks/learning.py fine-tuning SHARED``).
"""

from dataclasses import replace

from featherbone.training.recipes import photos

RECIPE = replace(photos.RECIPE, optimizer="sgd", lr=0.005)
