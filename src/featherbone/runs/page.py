"""The page that a finished run leaves behind."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherbone.detect.detector import Detector
from featherbone.errors import InputError, needs
from featherbone.files import AnyPath, check_output, read_json, write_text
from featherbone.report.pages.run import run_html
from featherbone.runs.folder import DATA, RESULT, read_recipe
from featherbone.runs.prepare import open_images
from featherbone.runs.reproduce import command, python_lines, shown_name
from featherbone.weights import Network, load_any
from featherbone.weights.open import describe

if TYPE_CHECKING:
    from featherbone.data._box_dataset import BoxSet
    from featherbone.data.dataset import ImageSet

PAGE = "run.html"


def run_page(
    run: AnyPath, out: AnyPath | None = None, *, images: ImageSet | BoxSet | None = None, quiet: bool = False
) -> Path:
    """Write the page of a finished run: what it reached, curves, confusion, mistakes as pictures, recipe; one file.

    Of a classifier it also says whether its probabilities can be believed; of a detector, precision and recall.
    Where the held-out images are gone or have changed, the page says so and has the rest.

    Args:
        run: the folder of a finished run.
        out: the file to write, ending in ``.html``; default ``RUN/run.html``.
        images: the run's held-out images, if they are open already; default: they are opened once more.
        quiet: no progress on the error stream.

    Returns:
        The file that was written.

    Raises:
        InputError: if there is no finished run, or the file cannot be written.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"run={folder} is not allowed: the folder of a finished run")
    page = folder / PAGE if out is None else Path(out)
    check_output("out", page, (".html",))
    model = load_any(folder)
    known = _known(folder, model)
    seen: dict[str, Any]
    try:
        held_out = _held_out(folder, quiet) if images is None else images
        seen = _seen(folder, model, held_out, quiet)
    except InputError as error:
        seen = {"missing": str(error)}
    write_text(page, run_html({**known, **seen}, "detection" if isinstance(model, Detector) else "classification"))
    return page


def _held_out(folder: Path, quiet: bool) -> ImageSet | BoxSet:
    """Return the images that the run held out.

    Raises:
        InputError: if they are gone or have changed.
    """
    recipe = read_recipe(folder)
    images = open_images(recipe.data, recipe, run=folder, quiet=quiet)
    if images.fingerprint != read_json(folder / DATA)["fingerprint"]:
        raise InputError(f"the images in {recipe.data} are not those that the run was trained on")
    return images.val


def _known(folder: Path, model: Network) -> dict[str, Any]:
    """Return what the run's folder says without its images."""
    recipe, data, result = read_recipe(folder), read_json(folder / DATA), read_json(folder / RESULT)
    known: dict[str, Any] = {
        "network": shown_name(model.spec),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "data": {key: data[key] for key in ("classes", "train_images", "val_images", "skipped")},
        "result": result,
        "history": _history(folder / "history.csv"),
        "recipe": recipe.to_dict(),
        "command": command(folder, recipe),
        "python": python_lines(folder, recipe),
    }
    if "top1" in result:
        known["interval"] = _interval(round(result["top1"] * data["val_images"]), data["val_images"])
    return known


def _history(path: Path) -> dict[str, list[float | None]]:
    """Return the numeric columns of a history; ``None`` where a row has no value."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    columns: dict[str, list[float | None]] = {}
    for name in rows[0] if rows else ():
        try:
            columns[name] = [float(row[name]) if row[name] else None for row in rows]
        except ValueError:  # words
            continue
    return columns


def _interval(right: int, images: int) -> tuple[float, float]:
    """Return where the share that is right lies with 95 % confidence, if such images were drawn again (Wilson)."""
    with needs("train", "the page of a run"):
        from scipy.stats import binomtest
    low, high = binomtest(right, images).proportion_ci(method="wilson")
    return float(low), float(high)


def _seen(folder: Path, model: Network, images: ImageSet | BoxSet, quiet: bool) -> dict[str, Any]:
    """Return what the network says of the held-out images.

    Raises:
        InputError: if one cannot be read.
    """
    header, preprocess = describe(folder)
    root = read_recipe(folder).data
    with needs("train", "the page of a run"):
        from featherbone.data._box_dataset import BoxSet
        from featherbone.evaluation.classification import classifier_outputs
        from featherbone.evaluation.detection import detector_outputs
        from featherbone.runs.page_classification import classes_seen
        from featherbone.runs.page_detection import boxes_seen
    if isinstance(images, BoxSet):
        return boxes_seen(detector_outputs(model, images, preprocess, header.classes, quiet=quiet), root)
    return classes_seen(classifier_outputs(model, images, preprocess, header.classes, quiet=quiet), root)
