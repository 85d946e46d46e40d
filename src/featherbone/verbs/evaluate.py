"""How good is a trained network on images whose targets are known?"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

from featherbone.device import device_named
from featherbone.errors import InputError, check_type, needs, some
from featherbone.files import AnyPath, check_outside, read_json
from featherbone.graph import check_finite
from featherbone.runs.folder import DATA, RECIPE, read_recipe, run_of
from featherbone.weights import load, read_header
from featherbone.weights.open import describe

if TYPE_CHECKING:
    from featherbone.data.dataset import AnyData
    from featherbone.evaluation.report import Evaluation


def evaluate(
    run: AnyPath,
    data: AnyPath | None = None,
    *,
    split: str | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Evaluate a run or a weight file: a classifier on labelled images, a detector on images with boxes.

    Args:
        run: a run's folder or one of its weight files, or a file that ``save`` wrote with classes and preprocessing.
        data: whatever ``train`` takes; all its images count (those of its ``val`` or ``test`` split if it has one).
            Default, and for the data that the run was trained on: the images that were held out.
        split: "train", "val" or "test": the images of this split of the data instead.
        device: where the network computes: "cpu", or an accelerator of this machine, such as "cuda:1"; default "cpu".
        quiet: no progress on the error stream.

    Raises:
        InputError: if an argument is not usable, the data has a class that the network does not know, or the network's
            weights or outputs are no numbers.
    """
    header, preprocess = describe(run)
    check_type("data", data, (str, os.PathLike, NoneType), "the name, path or address of a data set")
    where = device_named(device)
    own_run = run_of(run)
    recipe = read_recipe(run if own_run is None else own_run)
    source = recipe.data if data is None else os.fspath(data)
    if not source:
        raise InputError(f"{run} does not say what it was trained on: name the data to evaluate on")
    with needs("train", "evaluating"):
        from featherbone.data.open import same_source
        from featherbone.runs.prepare import open_images
        from featherbone.runs.tasks import task_of
    task, model = task_of(header), load(run)
    check_finite(model, run)
    # digits are split once and for all
    if split is not None or not (source == "digits" or same_source(source, recipe.data)):
        images, skipped = task.opener.images(source, header.classes, split=split, quiet=quiet)
    else:
        own = open_images(task, source, recipe, quiet=quiet)
        if own.classes != tuple(header.classes):
            raise InputError(
                f"{source} has {len(own.classes)} classes ({some(own.classes)}), not the {len(header.classes)} of the "
                f"network ({some(header.classes)})"
            )
        if own_run is not None:
            _compare(own_run, own, quiet=quiet)
        images, skipped = own.val, own.skipped
    return task.outputs(model.to(where), images, preprocess, header.classes, quiet=quiet).evaluation(skipped)


def _compare(run: Path, images: AnyData, *, quiet: bool) -> None:
    """Warn if the images that are held out now need not be those that were held out."""
    from featherbone.runs.identity import changed_images

    changes = changed_images(run, images, quiet=quiet)
    if images.fingerprint != read_json(run / DATA).get("fingerprint") or changes:
        said = "; ".join(changes) or "other names, labels or classes"
        warnings.warn(
            f"the images in {images.name} are not those that the run in {run} was trained on ({said}): of those that "
            "are held out now, some may have been learned from",
            stacklevel=3,
        )


def evaluation_pictures(
    run: AnyPath, evaluation: Evaluation, out: AnyPath | None = None, *, overwrite: bool = False
) -> Mapping[str, Path]:
    """Draw what ``evaluate`` returned: the confusion matrix and, of a detector, precision against recall.

    Args:
        run: the network that was evaluated.
        evaluation: what ``evaluate`` returned.
        out: a file that ends in .png, .svg or .pdf; default: files in the run's folder. Of a detector it shows
            precision and recall, and the confusion matrix lies beside it as NAME-confusion.
        overwrite: replace files that featherbone did not make; a run's own are always drawn anew.

    Returns:
        The files, by what they show: "confusion" and perhaps "precision_recall".

    Raises:
        InputError: if a file cannot be written, or lies inside the data.
    """
    with needs("train", "drawing"):
        from featherbone.evaluation.report import Evaluation
        from featherbone.runs.tasks import task_of
    check_type("run", run, (str, os.PathLike), "a run, its folder or a weight file")
    check_type("evaluation", evaluation, Evaluation, "what evaluate returned")
    check_type("out", out, (str, os.PathLike, NoneType), "the path of a picture")
    if out is not None:
        check_outside("out", out, read_recipe(run).data)
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    ours = overwrite or (out is None and (folder / RECIPE).exists())
    return task_of(read_header(run)).draw(evaluation, None if out is None else Path(out), folder, overwrite=ours)
