"""Ask a trained network: how good is it on labelled images, and what does it say of these?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from featherbone.detect._spec import DetectorSpec
from featherbone.detect.detector import Detector
from featherbone.errors import InputError, needs, some
from featherbone.runs.folder import AnyPath, describe, read_recipe
from featherbone.training import Recipe
from featherbone.weights import load, load_any

if TYPE_CHECKING:
    from featherbone.data._box_dataset import BoxSet
    from featherbone.data.dataset import ImageSet, Skipped
    from featherbone.evaluation.average_precision import BoxEvaluation
    from featherbone.evaluation.classification import Evaluation, Prediction
    from featherbone.evaluation.detection import Detections

SURE = 0.25


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


def predict(
    run: AnyPath, images: Iterable[AnyPath], *, top: int = 5, score: float = SURE, quiet: bool = False
) -> tuple[list[Prediction] | list[Detections], list[Skipped]]:
    """Classify image files, or find boxes in them.

    Args:
        run: a run's folder, or a file that ``save`` wrote with classes and preprocessing.
        images: files, folders, shell patterns.
        top: how many classes a classifier names per image.
        score: the least score, 0 to 1, of a box that a detector names.
        quiet: no progress on the error stream.

    Returns:
        One prediction per readable image, and the files that could not be read.

    Raises:
        InputError: if an argument is not usable, or no image can be read.
    """
    header, preprocess = describe(run)
    if top < 1:
        raise InputError(f"top={top} is not allowed: 1 or more")
    check_score(score)
    with needs("train", "predicting"):
        from featherbone.data.sources.folder import find_images
        from featherbone.evaluation.classification import classify_images
        from featherbone.evaluation.detection import detect_images
    files, model = find_images(images), load_any(run)
    found: list[Prediction] | list[Detections]
    if isinstance(header.spec, DetectorSpec):
        found, skipped = detect_images(model, files, preprocess, header.classes, score=score, quiet=quiet)
    else:
        found, skipped = classify_images(model, files, preprocess, header.classes, top=top, quiet=quiet)
    if not found:
        raise InputError(
            f"none of the {len(skipped)} files can be read as an image ({skipped[0].path}: {skipped[0].reason})"
            if skipped
            else "no image to predict on was named"
        )
    return found, skipped


def check_score(score: float) -> None:
    """Refuse what is no probability.

    Raises:
        InputError: then.
    """
    if not 0 <= score <= 1:
        raise InputError(f"score={score} is not allowed: from 0 to 1")
