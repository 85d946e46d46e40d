"""Precision against recall as a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure

from featherbone.files import PICTURES, check_output
from featherbone.report.pictures.boxes import class_colour
from featherbone.report.pictures.figure import save_figure
from featherbone.report.pictures.text import written

_MOST_NAMED = 10  # classes whose curves have a colour and a name: more could not be told apart


class ClassScore(Protocol):
    """A class and its average precision at IoU 0.5, ``None`` if it has no box."""

    @property
    def name(self) -> str: ...
    @property
    def ap50(self) -> float | None: ...


class Evaluation(Protocol):
    """Curves ``(classes, recalls)`` of precision, NaN where a class has no box, their mean, and the scores."""

    @property
    def classes(self) -> Sequence[ClassScore]: ...
    @property
    def curves(self) -> np.ndarray: ...
    @property
    def curve(self) -> np.ndarray: ...
    @property
    def ap50(self) -> float | None: ...


def draw_precision_recall(evaluation: Evaluation, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Draw precision against recall at IoU 0.5, for each class and on average.

    Args:
        evaluation: of a detector.
        path: .png, .svg or .pdf.
        overwrite: replace a file that featherbone did not make.

    Raises:
        InputError: if the picture cannot be written.
    """
    check_output("path", path, PICTURES, overwrite=overwrite)
    figure = Figure(figsize=(7.5, 5), layout="constrained", dpi=120)
    axes = figure.subplots()
    recalls = np.linspace(0, 1, evaluation.curves.shape[1])
    for label, (score, curve, style) in enumerate(zip(evaluation.classes, evaluation.curves, _styles(), strict=False)):
        if score.ap50 is None:
            continue
        named = len(evaluation.classes) <= _MOST_NAMED
        colour = tuple(part / 255 for part in class_colour(label)) if named else "0.8"
        name = f"{score.name} {score.ap50:.3f}" if named else None
        axes.plot(recalls, curve, style if named else "-", color=colour, linewidth=1.2, label=name and written(name))
    if evaluation.ap50 is not None:
        axes.plot(recalls, evaluation.curve, color="black", linewidth=2.2, label=f"all classes {evaluation.ap50:.3f}")
        figure.legend(loc="outside right upper", title="AP at IoU 0.5", frameon=False)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="precision and recall at IoU 0.5")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    save_figure(figure, path)


def _styles() -> Iterator[str]:
    return cycle(("-", "--", "-.", ":"))
