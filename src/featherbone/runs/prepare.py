"""What is resolved before a run begins and written to its folder: recipe, facts of the data, weights to start from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherbone.data import Preprocess
from featherbone.data.dataset import AnyData, ScanResult, Skipped
from featherbone.errors import InputError, needs
from featherbone.files import AnyPath, read_json, write_json
from featherbone.runs.folder import DATA, RECIPE, START
from featherbone.runs.start import ModelRequest, build
from featherbone.training import Recipe
from featherbone.weights import read_header, row_to_dict, save

if TYPE_CHECKING:
    from featherbone.runs.tasks import Task

_LONGEST = 40  # characters of a name in the name of a run's folder
_EXAMPLES = 10  # held-out images noted in a run, to try predict on and to verify exports with


def prepare(
    folder: Path,
    data: AnyPath,
    task: Task,
    request: ModelRequest,
    recipe: Recipe | None,
    changes: Mapping[str, Any],
    *,
    quiet: bool,
    log: Callable[[str], None],
) -> AnyData:
    """Resolve a run and write what determines it; the recipe comes last: once it is there, the run can begin.

    Args:
        folder: of the run.
        data: the data set.
        task: what the run learns.
        request: the network that was asked for.
        recipe: how to train; ``None`` for what suits the data.
        changes: columns of the recipe to change.
        quiet: no progress on the error stream.
        log: told the recipe in full.

    Raises:
        InputError: if an argument is not usable.
    """
    early = (recipe or Recipe()).changed(changes)  # refuses wrong columns before the data is read
    request.check()
    images = open_images(task, data, early, quiet=quiet)
    size = early.size or _usual_size(request, images, task)
    trained = request.weights is not None
    resolved = (recipe or task.recipe(images.name, size, trained=trained)).changed(changes)
    resolved.check_for(task.name)
    row, start = task.start(request, images, size, resolved.seed)
    resolved = resolved.changed({"model": row_to_dict(row), "data": images.name, "size": size})
    with needs("train", "training"):
        from featherbone.training.autotune import resolve
        from featherbone.training.batch_norm import measured, sample_inputs
        from featherbone.training.optimizer import parameter_groups
    network = start or build(resolved)
    network.check_size(size)
    parameter_groups(network, resolved)  # refuses to freeze what the network does not have
    resolved = resolve(resolved, network, replace(images, channels=row.in_chans))
    if start is not None and request.weights is not None:
        known = read_header(request.weights).preprocess
        preprocess = task.preprocess(known.resized(size)) if known else None
        inputs = sample_inputs(images.train, preprocess or usual_preprocess(task, resolved, row.in_chans))
        save(measured(start, inputs), folder / START, classes=images.classes, preprocess=preprocess)
    log(", ".join(f"{name} {value}" for name, value in resolved.to_dict().items() if name != "model"))
    write_json(folder / DATA, _facts(folder, images, task))
    write_json(folder / RECIPE, resolved.to_dict())
    return images


def usual_preprocess(task: Task, recipe: Recipe, channels: int) -> Preprocess:
    """Return how inputs are prepared for a new network, or for one whose weights do not say it."""
    return task.preprocess(Preprocess.usual(recipe.size, channels, crop=recipe.crop_pct))


def open_images(task: Task, data: AnyPath, recipe: Recipe, *, run: Path | None = None, quiet: bool) -> AnyData:
    """Return a recipe's data set; for a ``run`` that has begun, without decoding every image again.

    Raises:
        InputError: if they cannot be read.
    """
    scan = None
    if run is not None:
        facts = read_json(run / DATA)
        scan = ScanResult(tuple(Skipped(**file) for file in facts["skipped"]), facts["channels"] == 1)
    return task.opener.open(data, seed=recipe.seed, val_fraction=recipe.val_fraction, scan=scan, quiet=quiet)


def _usual_size(request: ModelRequest, images: AnyData, task: Task) -> int:
    """Return the size that given weights were trained with for the same task, else the one that suits the images."""
    from featherbone.runs.tasks import task_of

    header = read_header(request.weights) if request.weights is not None else None
    known = header.preprocess if header and task_of(header) is task else None
    return known.size if known else images.size


def new_folder(out: AnyPath | None, data: AnyPath, request: ModelRequest, task: Task) -> Path:
    """Return the folder of a new run: as given, or one that is named after data and network and is not there yet.

    Raises:
        InputError: if it is a file, or holds a run.
    """
    if out is None:
        name = f"{_plain(data)}-{_words(_network_name(request, task))}"
        return next(folder for i in count(1) if not (folder := Path("runs") / f"{name}-{i}").exists())
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out={folder} is a file: choose a folder")
    if (folder / RECIPE).exists():
        raise InputError(f"out={folder} holds a run already: resume it, or choose another folder")
    return folder


def _network_name(request: ModelRequest, task: Task) -> str:
    """Return the name of the network that was asked for."""
    if request.model is not None:
        return request.model if isinstance(request.model, str) else request.model.family
    if request.weights is not None:
        return read_header(request.weights).spec.network
    return task.default_model


def _plain(data: AnyPath) -> str:
    """Return a short name for a data set, for any disk and shell: no query of a URL, no numbers of a pattern."""
    given = os.fspath(data)
    path = given.partition("?")[0] if "://" in given else os.path.abspath(given)  # noqa: PTH100 - never fails
    parts = re.split(r"[/\\]", re.sub(r"\{\d+\.\.\d+\}", "", path).removesuffix(".tar"))
    return next((words for part in reversed(parts) if (words := _words(part))), "data")


def _words(text: str) -> str:
    """Return the words of a text, joined by hyphens."""
    return "-".join(re.findall(r"\w+(?:\.\w+)*", text))[:_LONGEST].strip("-.")


def _facts(folder: Path, images: AnyData, task: Task) -> dict[str, Any]:
    return {
        "name": images.name,
        "task": task.name,
        "classes": list(images.classes),
        "train_images": len(images.train),
        "val_images": len(images.val),
        "channels": images.channels,
        "fingerprint": images.fingerprint,
        "skipped": [asdict(file) for file in images.skipped],
        "examples": [str(path) for path in _examples(folder, images)],
    }


def _examples(folder: Path, images: AnyData) -> list[Path]:
    """Return a few held-out image files; what is no file, such as a digit, is written as one."""
    with needs("train", "writing images"):
        from featherbone.data.image import image_mode, read_image
    found: list[Path] = []
    for number, (place, name) in enumerate(images.examples(_EXAMPLES)):
        source = images.val.sources[place]
        if isinstance(source, Path):
            found.append(source)
            continue
        safe = re.sub(r"[^\w-]", "_", name)[:60]  # a table or shard may call its classes anything
        found.append(folder / "examples" / (f"{safe}.png" if safe == name else f"{number}-{safe}.png"))
        found[-1].parent.mkdir(parents=True, exist_ok=True)
        read_image(source, image_mode(images.channels)).save(found[-1])
    return found
