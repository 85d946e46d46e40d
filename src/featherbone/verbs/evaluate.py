"""Ask a trained network: how good is it on labelled images, and what does it say of these?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from featherbone.detect.detector import Detector, DetectorSpec
from featherbone.errors import InputError, needs, some
from featherbone.files import AnyPath
from featherbone.runs.folder import read_recipe
from featherbone.training import Recipe
from featherbone.weights import load
from featherbone.weights.open import describe

if TYPE_CHECKING:
    from featherbone.data._box_dataset import BoxSet
    from featherbone.data.dataset import ImageSet, Skipped
    from featherbone.evaluation.average_precision import BoxEvaluation
    from featherbone.evaluation.classification import Evaluation


def evaluate(
    run: AnyPath, data: AnyPath | None = None, *, part: str | None = None, quiet: bool = False
) -> Evaluation | BoxEvaluation:
    """Evaluate a run or a weight file: a classifier on labelled images, a detector on images with boxes.

    Args:
        run: a run's folder, or a file that ``save`` wrote with classes and preprocessing.
        data: whatever ``train`` takes; all its images count (those of its ``val`` or ``test`` part if it has one).
            Default, and for the data that the run was trained on: the images that were held out.
        part: "train", "val" or "test": the images of this part of the data instead.
        quiet: no progress on the error stream.

    Raises:
        InputError: if an argument is not usable, or the data has a class that the network does not know.
    """
    header, preprocess = describe(run)
    recipe = read_recipe(run)
    source = recipe.data if data is None else os.fspath(data)
    if not source:
        raise InputError(f"{run} does not say what it was trained on: name the data to evaluate on")
    if isinstance(header.spec, DetectorSpec):
        with needs("train", "evaluating"):
            from featherbone.evaluation.detection import detector_outputs
        boxed, skipped = _boxes(source, recipe, header.classes, part, quiet=quiet)
        return detector_outputs(load(run, Detector), boxed, preprocess, header.classes, quiet=quiet).evaluation(skipped)
    with needs("train", "evaluating"):
        from featherbone.evaluation.classification import evaluate_classifier
    images, skipped = _labelled(source, recipe, header.classes, part, quiet=quiet)
    return evaluate_classifier(load(run), images, preprocess, header.classes, skipped=skipped, quiet=quiet)


def _labelled(
    source: str, recipe: Recipe, classes: Sequence[str], part: str | None, *, quiet: bool
) -> tuple[ImageSet, tuple[Skipped, ...]]:
    from featherbone.data.open import labelled_images, open_data, same_source

    if part is not None or not (source == "digits" or same_source(source, recipe.data)):
        return labelled_images(source, classes, part=part, quiet=quiet)
    everything = open_data(source, seed=recipe.seed, val_fraction=recipe.val_fraction, quiet=quiet)
    _require_same(source, everything.classes, classes)
    return everything.val, everything.skipped


def _boxes(
    source: str, recipe: Recipe, classes: Sequence[str], part: str | None, *, quiet: bool
) -> tuple[BoxSet, tuple[Skipped, ...]]:
    from featherbone.data._box_open import boxed_images, open_boxes
    from featherbone.data.open import same_source

    if part is not None or not same_source(source, recipe.data):
        return boxed_images(source, classes, part=part, quiet=quiet)
    everything = open_boxes(source, seed=recipe.seed, val_fraction=recipe.val_fraction, quiet=quiet)
    _require_same(source, everything.classes, classes)
    return everything.val, everything.skipped


def _require_same(source: str, found: Sequence[str], known: Sequence[str]) -> None:
    if tuple(found) != tuple(known):
        raise InputError(
            f"{source} has {len(found)} classes ({some(found)}), not the {len(known)} of the network ({some(known)})"
        )


def confusion_picture(confusion: np.ndarray, classes: Sequence[str], path: AnyPath) -> None:
    """Draw an evaluation's confusion matrix to a picture file (.png, .svg, .pdf).

    Raises:
        InputError: if it cannot be written.
    """
    with needs("train", "drawing"):
        from featherbone.report.pictures.confusion import draw_confusion
    draw_confusion(confusion, classes, path)


def precision_recall_picture(evaluation: BoxEvaluation, path: AnyPath) -> None:
    """Draw a detector's precision against its recall at IoU 0.5 to a picture file (.png, .svg, .pdf).

    Raises:
        InputError: if it cannot be written.
    """
    with needs("train", "drawing"):
        from featherbone.report.pictures.precision_recall import draw_precision_recall
    draw_precision_recall(evaluation, path)
