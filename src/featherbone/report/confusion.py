"""The confusion matrix as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from featherbone.files import PICTURES, check_output, replacing

_MOST_NUMBERED = 30  # with more classes the numbers would not be readable


def draw_confusion(confusion: np.ndarray, classes: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Draw counts ``(classes, classes)``, row true, column predicted, coloured by the share of the row.

    Raises:
        InputError: if the picture cannot be written.
    """
    check_output("path", path, PICTURES)
    count = len(classes)
    side = min(max(4.0, 0.45 * count + 2), 15)
    figure = Figure(figsize=(side + 1, side), layout="constrained", dpi=120)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, ax=axes, label="share of the true class", fraction=0.046)
    axes.set(xlabel="predicted", ylabel="true", title=f"{int(confusion.sum())} images, {np.trace(confusion)} right")
    if count <= 2 * _MOST_NUMBERED:
        slanted = max(map(len, classes)) > 3
        axes.set_xticks(range(count), classes, rotation=45 if slanted else 0, ha="right" if slanted else "center")
        axes.set_yticks(range(count), classes)
    if count <= _MOST_NUMBERED:
        for true, predicted in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if shares[true, predicted] > 0.5 else "black"
            axes.text(
                predicted, true, str(confusion[true, predicted]), ha="center", va="center", color=colour, fontsize=8
            )
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", pad_inches=0.15)
