"""The page that a finished run leaves behind."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featherbone.errors import InputError, needs
from featherbone.files import check_output, write_text
from featherbone.models import count_parameters, list_models, spec, spec_from_row
from featherbone.report.run_page import run_html, thumbnail
from featherbone.train import Recipe, recipe_for
from featherbone.verbs.folder import DATA, RECIPE, RESULT, START, AnyPath, describe, read_json, read_recipe
from featherbone.verbs.preparing import GIVEN_TEACHER
from featherbone.weights import load

if TYPE_CHECKING:
    from featherbone.data.sets import ImageSet
    from featherbone.train.evaluate import Outputs

PAGE = "run.html"
_PICTURED = 32, 16  # mistakes and unsure images with a picture
_NAMED = 2000  # mistakes with a name
# columns of a recipe that 'featherbone train' has options for
_OPTIONS = ("epochs", "size", "batch_size", "lr", "seed", "precision", "workers", "teacher")


def run_page(run: AnyPath, out: AnyPath | None = None, *, images: ImageSet | None = None, quiet: bool = False) -> Path:
    """Write the page of a finished run: what it reached, curves, confusion, mistakes, calibration, recipe; one file.

    Where the held-out images are gone or have changed, the page says so and has the rest.

    Args:
        run: the folder of a finished run.
        out: the file to write, ending in ``.html``; default ``RUN/run.html``.
        images: the run's held-out images, if they are open already; default: they are opened, and read, once more.
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
    model, (header, preprocess), known = load(folder), describe(folder), _known(folder)
    with needs("train", "the page of a run"):
        from featherbone.train.evaluate import classifier_outputs
    seen: dict[str, Any]
    try:
        held_out = _held_out(folder, quiet) if images is None else images
        outputs = classifier_outputs(model, held_out, preprocess, header.classes, quiet=quiet)
        seen = _seen(outputs, read_recipe(folder).data)
    except InputError as error:
        seen = {"missing": str(error)}
    write_text(page, run_html({**known, **seen}))
    return page


def _held_out(folder: Path, quiet: bool) -> ImageSet:
    """Return the images that the run held out.

    Raises:
        InputError: if they are gone or have changed.
    """
    with needs("train", "reading images"):
        from featherbone.data.opening import open_data
    recipe = read_recipe(folder)
    images = open_data(recipe.data, seed=recipe.seed, val_fraction=recipe.val_fraction, quiet=quiet)
    if images.fingerprint != read_json(folder / DATA)["fingerprint"]:
        raise InputError(f"the images in {recipe.data} are not those that the run was trained on")
    return images.val


def _known(folder: Path) -> dict[str, Any]:
    """Return what the run's folder says without its images."""
    recipe, data, result = read_recipe(folder), read_json(folder / DATA), read_json(folder / RESULT)
    row = spec_from_row(recipe.model)
    name = _name(recipe)
    return {
        "network": name or row.family,
        "parameters": count_parameters(row),
        "data": {key: data[key] for key in ("classes", "train_images", "val_images", "skipped")},
        "result": result,
        "interval": _interval(round(result["top1"] * data["val_images"]), data["val_images"]),
        "history": _history(folder / "history.csv"),
        "recipe": recipe.to_dict(),
        "command": _command(folder, recipe, name),
        "python": _python(folder),
    }


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


def _name(recipe: Recipe) -> str | None:
    """Return the name of the recipe's network; ``None`` for a row that has none."""
    row = spec_from_row(recipe.model)
    for name in list_models():
        named = spec(name)
        if type(named) is not type(row) or row.stem_stride > named.stem_stride:
            continue
        if replace(named, num_classes=row.num_classes, in_chans=row.in_chans, stem_stride=row.stem_stride) == row:
            return name
    return None


def _command(folder: Path, recipe: Recipe, name: str | None) -> str | None:
    """Return the command that repeats a run; ``None`` if its network or beginning cannot be asked for in one."""
    if name is None or recipe.teacher == GIVEN_TEACHER or (folder / START).exists():
        return None
    usual, used = recipe_for(recipe.data, recipe.size).to_dict(), recipe.to_dict()
    words: list[str] = []
    for column, value in used.items():
        if column in ("model", "data") or value == usual[column]:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else json.dumps(value).strip('"')
        words += [f"--{column.replace('_', '-')}", text] if column in _OPTIONS else ["--set", f"{column}={text}"]
    return shlex.join(["featherbone", "train", recipe.data, "--model", name, *words])


def _python(folder: Path) -> str:
    """Return the lines that repeat any run, to the bit on the same machine."""
    here = str(folder.resolve())
    start = f", weights=run / {START!r}" if (folder / START).exists() else ""
    return (
        "import json, pathlib, featherbone as fb\n"
        f"run = pathlib.Path({here!r})\n"
        f"recipe = fb.Recipe.from_dict(json.loads((run / {RECIPE!r}).read_text()))\n"
        f"fb.train(recipe.data, fb.read_header(run).spec, recipe=recipe{start})"
    )


def _seen(outputs: Outputs, root: str) -> dict[str, Any]:
    """Return what the network says of the held-out images."""
    evaluation, calibration = outputs.evaluation(), outputs.calibration()
    cells = np.argwhere(evaluation.confusion)
    mistakes = outputs.mistakes()
    pictured, unsure = _PICTURED
    shown = set(mistakes[:pictured])
    doubtful = [place for place in outputs.least_sure(unsure + pictured) if place not in shown][:unsure]
    return {
        "images": len(outputs.images),
        "top1": evaluation.top1,
        "scores": [[s.images, s.precision, s.recall, s.f1] for s in evaluation.classes],
        "confusion": [[*cell, int(evaluation.confusion[tuple(cell)])] for cell in cells.tolist()],
        "mistakes": _answers(outputs, mistakes[:_NAMED], root, pictures=pictured),
        "mistaken": len(mistakes),
        "unsure": _answers(outputs, doubtful, root, pictures=unsure),
        "calibration": vars(calibration),
    }


def _answers(outputs: Outputs, places: Sequence[int], root: str, *, pictures: int) -> list[dict[str, Any]]:
    """Return what is said of the images at ``places``, the first of them with a picture."""
    likely = outputs.logits[places].argsort(descending=True, stable=True)[:, :2]  # of equal ones the first, as in said
    shares = outputs.probabilities[places].gather(1, likely)
    answers = []
    for number, place in enumerate(places):
        true = outputs.images.labels[place]
        answer: dict[str, Any] = {
            "image": _image_name(outputs.images, place, root),
            "true": true,
            "said": likely[number].tolist(),
            "shares": [round(share, 4) for share in shares[number].tolist()],
            "of_true": round(float(outputs.probabilities[place, true]), 6),
            "loss": round(float(outputs.losses[place]), 4),
        }
        if number < pictures:
            answer |= _picture(outputs.images, place)
        answers.append(answer)
    return answers


def _image_name(images: ImageSet, place: int, root: str) -> str:
    source = images.sources[place]
    if not isinstance(source, Path):
        return f"image {place}"
    return str(source.relative_to(root) if source.is_relative_to(root) else source)


def _picture(images: ImageSet, place: int) -> Mapping[str, str]:
    """Return the thumbnail of an image, or why there is none."""
    from featherbone.data.images import UnreadableImageError, read_image, without_pillows_warnings

    try:
        with without_pillows_warnings():
            return {"picture": thumbnail(read_image(images.sources[place]))}
    except UnreadableImageError as error:
        return {"unreadable": str(error)}
