"""Ask a trained network: how good is it on labelled images, and what does it say of these?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from featherbone.errors import InputError, needs, some
from featherbone.verbs.folder import AnyPath, describe, read_recipe
from featherbone.weights import load

if TYPE_CHECKING:
    from featherbone.data.sets import Skipped
    from featherbone.train.evaluate import Evaluation, Prediction


def evaluate(run: AnyPath, data: AnyPath | None = None, *, quiet: bool = False) -> Evaluation:
    """Evaluate a run or a weight file on labelled images.

    Args:
        run: a run's folder, or a file that ``save`` wrote with classes and preprocessing.
        data: ``"digits"`` or whatever else ``train`` takes; all its images count (those of its ``val`` or ``test`` part
            if it has one). Default, and for the data that the run was trained on: the images that were held out.
        quiet: no progress on the error stream.

    Raises:
        InputError: if an argument is not usable, or the data has a class that the network does not know.
    """
    header, preprocess = describe(run)
    recipe = read_recipe(run)
    source = recipe.data if data is None else os.fspath(data)
    if not source:
        raise InputError(f"{run} does not say what it was trained on: name the data to evaluate on")
    with needs("train", "evaluating"):
        from featherbone.data.opening import labelled_images, open_data, same_source
        from featherbone.train.evaluate import evaluate_classifier
    if source == "digits" or same_source(source, recipe.data):
        everything = open_data(source, seed=recipe.seed, val_fraction=recipe.val_fraction, quiet=quiet)
        images, skipped = everything.val, everything.skipped
        if everything.classes != header.classes:
            raise InputError(
                f"{source} has {len(everything.classes)} classes ({some(everything.classes)}), "
                f"not the {len(header.classes)} of {run} ({some(header.classes)})"
            )
    else:
        images, skipped = labelled_images(source, header.classes, quiet=quiet)
    return evaluate_classifier(load(run), images, preprocess, header.classes, skipped=skipped, quiet=quiet)


def predict(
    run: AnyPath, images: Iterable[AnyPath], *, top: int = 5, quiet: bool = False
) -> tuple[list[Prediction], list[Skipped]]:
    """Classify image files.

    Args:
        run: a run's folder, or a file that ``save`` wrote with classes and preprocessing.
        images: files, folders, shell patterns.
        top: how many classes to name per image.
        quiet: no progress on the error stream.

    Returns:
        One prediction per readable image, and the files that could not be read.

    Raises:
        InputError: if an argument is not usable, or no image can be read.
    """
    header, preprocess = describe(run)
    if top < 1:
        raise InputError(f"top={top} is not allowed: 1 or more")
    with needs("train", "predicting"):
        from featherbone.data.folders import find_images
        from featherbone.train.evaluate import classify_images
    found, skipped = classify_images(load(run), find_images(images), preprocess, header.classes, top=top, quiet=quiet)
    if not found:
        raise InputError(
            f"none of the {len(skipped)} files can be read as an image ({skipped[0].path}: {skipped[0].reason})"
            if skipped
            else "no image to predict on was named"
        )
    return found, skipped


def confusion_picture(confusion: np.ndarray, classes: Sequence[str], path: AnyPath) -> None:
    """Draw an evaluation's confusion matrix to a picture file (.png, .svg, .pdf).

    Raises:
        InputError: if it cannot be written.
    """
    with needs("train", "drawing"):
        from featherbone.report.confusion import draw_confusion
    draw_confusion(confusion, classes, path)
