"""The confusion matrix as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from featherbone.files import PICTURES, check_output
from featherbone.report.pictures.figure import save_figure
from featherbone.report.pictures.text import written

_MOST_NUMBERED = 30  # with more classes the numbers would not be readable


def draw_confusion(
    confusion: np.ndarray, classes: Sequence[str], path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Draw counts, row true, column predicted, coloured by the share of the row.

    Args:
        confusion: images ``(classes, classes)``; or boxes ``(classes + 1, classes + 1)``, the last of which is nothing.
        classes: names, in label order.
        path: .png, .svg or .pdf.
        overwrite: replace a file that featherbone did not make.

    Raises:
        InputError: if the picture cannot be written.
    """
    check_output("path", path, PICTURES, overwrite=overwrite)
    said = title(confusion, classes)
    classes = [*classes, "nothing"][: len(confusion)]
    count = len(classes)
    side = min(max(4.0, 0.45 * count + 2), 15)
    figure = Figure(figsize=(side + 1, side), layout="constrained", dpi=120)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, ax=axes, label="share of the true class", fraction=0.046)
    axes.set(xlabel="predicted", ylabel="true", title=said)
    if count <= 2 * _MOST_NUMBERED:
        slanted = max(map(len, classes)) > 3
        names = [written(name) for name in classes]
        axes.set_xticks(range(count), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
        axes.set_yticks(range(count), names)
    if count <= _MOST_NUMBERED:
        for true, predicted in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if shares[true, predicted] > 0.5 else "black"
            axes.text(
                predicted, true, str(confusion[true, predicted]), ha="center", va="center", color=colour, fontsize=8
            )
    save_figure(figure, path, bbox_inches="tight", pad_inches=0.15)


def title(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """Return how many images, or true boxes, were counted, and how many of them are right.

    >>> title(np.array([[3, 1], [0, 2]]), ("cat", "dog"))
    '6 images, 5 right'
    >>> title(np.array([[3, 1], [2, 0]]), ("cat",))
    '4 boxes, 3 found, 2 false'
    """
    right = int(np.trace(confusion))
    if len(confusion) == len(classes):
        return f"{int(confusion.sum())} images, {right} right"
    return f"{int(confusion[:-1].sum())} boxes, {right} found, {int(confusion[:, :-1].sum()) - right} false"
