"""DenseNet's on CIFAR (arXiv 1608.06993, sec. 4.2): SGD, lr 0.1, a tenth at half and three quarters of 300 epochs.

Images are shifted by up to 4 pixels and mirrored; weights of norms decay, too, as in the authors' code. The paper's
ImageNet training differs: 90 epochs, batches of 256, a tenth at epochs 30 and 60 (``milestones=(1/3, 2/3)``).

Command:  ``featherbone train CIFAR --model densenet_bc100_k12_cifar --recipe densenet``
Hardware: not run to its end here. The paper reports 4.51 % errors on CIFAR-10 for this network.
"""

from featherbone.training.recipe import Recipe

RECIPE = Recipe(
    epochs=300,
    batch_size=64,
    lr=0.1,
    warmup=0.0,
    schedule="steps",
    milestones=(0.5, 0.75),
    weight_decay=1e-4,
    decay_norms=True,
    label_smoothing=0.0,
    shift=4,
    flip=0.5,
)
