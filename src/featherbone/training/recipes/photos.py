"""For photographs in small numbers, from scratch: Muon, cosine, crops that keep a quarter, mirrored.

Command:  ``featherbone train FOLDER``
Hardware: one thread, beside other work; a ShuffleNet V2 0.5, 2,000 photographs of 10 classes at 112 pixels, 12 epochs,
1,000 held out, three seeds: top-1 66.1 to 69.0 %, mean 67.9; 46.5 to 51.2 %, mean 48.9, with SGD at its best rate of
four (``python benchmarks/learning.py scratch SHARED``).
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(epochs=30, batch_size=32, optimizer="muon", lr=0.025, crop_min=0.25, flip=0.5, crop_pct=0.875)
