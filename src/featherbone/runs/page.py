"""The page that a finished run leaves behind."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from featherbone.data.dataset import Dataset
from featherbone.errors import InputError
from featherbone.files import check_output, read_json, read_text, write_text
from featherbone.report.pages.run import run_html
from featherbone.runs.folder import HISTORY, RESULT, read_facts, read_recipe, read_result
from featherbone.runs.identity import changed_images
from featherbone.runs.page_batch import batch_values
from featherbone.runs.prepare import open_images
from featherbone.runs.reproduce import command, python_lines
from featherbone.runs.tasks import Task, task_of
from featherbone.weights import Network, load
from featherbone.weights.open import describe


def write_page(folder: Path, page: Path, images: Dataset[Any] | None, *, quiet: bool) -> None:
    """Write the page of a finished run.

    Args:
        folder: of the run.
        page: the file.
        images: the held-out images, if they are open already.
        quiet: no progress on the error stream.

    Raises:
        InputError: if there is no finished run, or the file cannot be written.
    """
    check_output("out", page, (".html",), overwrite=True)  # its place is the run's, or was checked
    model = load(folder)
    header, preprocess = describe(folder)
    task = task_of(header)
    known = _known(folder, model, task)
    seen: dict[str, Any]
    try:
        held_out = _held_out(folder, task, quiet) if images is None else images
        outputs = task.outputs(model, held_out, preprocess, header.classes, quiet=quiet)
        seen = task.values(outputs, read_recipe(folder).data)
    except InputError as error:
        seen = {"missing": str(error)}
    write_text(page, run_html({**known, **seen}, task.section))


def _held_out(folder: Path, task: Task, quiet: bool) -> Dataset[Any]:
    """Return the images that the run held out.

    Raises:
        InputError: if they are gone or have changed.
    """
    recipe = read_recipe(folder)
    images = open_images(task, recipe.data, recipe, run=folder, quiet=quiet)
    if images.fingerprint != read_facts(folder).fingerprint:
        raise InputError(f"the images in {recipe.data} are not those that the run was trained on")
    if changes := changed_images(folder, images, quiet=quiet):
        raise InputError(f"the images in {recipe.data} are not those that the run was trained on: {'; '.join(changes)}")
    return images.val


def _known(folder: Path, model: Network, task: Task) -> dict[str, Any]:
    """Return what the run's folder says without its images."""
    recipe, data, result = read_recipe(folder), read_facts(folder), read_json(folder / RESULT)
    scores = read_result(folder).scores
    known: dict[str, Any] = {
        "network": task.model_name(model.spec),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "data": {
            "classes": data.classes,
            "train_images": data.train_images,
            "drawn_from": data.drawn_from,
            "val_images": data.val_images,
            "skipped": [asdict(file) for file in data.skipped],
        },
        "result": result,
        "history": read_history(folder / HISTORY),
        "batch": batch_values(folder),
        "recipe": recipe.to_dict(),
        "command": command(folder, recipe, task),
        "python": python_lines(folder, recipe, task),
    }
    if "top1" in scores:
        known["interval"] = _interval(round(scores["top1"] * data.val_images), data.val_images)
    return known


def read_history(path: Path) -> dict[str, list[float | None]]:
    """Return the numeric columns of a history; ``None`` where a row has no value.

    Raises:
        InputError: if it cannot be read.
    """
    if not path.exists():
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path)), restkey=""))
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    columns: dict[str, list[float | None]] = {}
    for name in filter(None, rows[0] if rows else ()):
        try:
            columns[name] = [float(row[name]) if row[name] else None for row in rows]
        except ValueError:  # words
            continue
    return columns


def _interval(right: int, images: int) -> tuple[float, float]:
    """Return the limits of the 95 % confidence interval of the share that is right (Wilson)."""
    low, high = binomtest(right, images).proportion_ci(method="wilson")
    return float(low), float(high)
