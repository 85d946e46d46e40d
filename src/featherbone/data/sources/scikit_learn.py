"""Images that come with scikit-learn and need no download."""

from __future__ import annotations

import numpy as np

from featherbone.data.dataset import ClassificationData, Dataset


def photographs() -> list[np.ndarray]:
    """Return two real photographs that come with scikit-learn, as arrays ``(427, 640, 3)`` of uint8."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def digits() -> ClassificationData:
    """Return 1,797 handwritten digits of 8 x 8 pixels, a fifth of them held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8), stored as 0..16
    everything = [(image, int(label)) for image, label in zip(pixels, bunch.target, strict=True)]
    # one split for all runs, and one that anybody can repeat with scikit-learn alone: results are comparable
    train, val = train_test_split(everything, test_size=0.2, stratify=bunch.target, random_state=0)
    return ClassificationData(
        name="digits",
        classes=tuple(str(d) for d in range(10)),
        channels=1,
        size=16,
        train=Dataset.of(train),
        val=Dataset.of(val),
    )
