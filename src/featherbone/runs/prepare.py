"""What is settled before a run begins and written to its folder: recipe, facts of the data, weights to start from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

from featherbone.data._box_dataset import BoxData
from featherbone.data.dataset import ImageData, ScanResult, Skipped
from featherbone.detect.detector import DetectorSpec
from featherbone.errors import InputError, needs
from featherbone.files import AnyPath, read_json, write_json
from featherbone.runs.folder import DATA, RECIPE, START
from featherbone.runs.start import (
    DEFAULT_DETECTOR,
    DEFAULT_MODEL,
    ModelRequest,
    build,
    classifier,
    detector,
    fitting,
    preprocess_of,
    usual_preprocess,
)
from featherbone.spec import Spec
from featherbone.training import Recipe, recipe_for
from featherbone.weights import Network, Row, read_header, row_to_dict, save

_LONGEST = 40  # characters of a name in the name of a run's folder
_EXAMPLES = 10  # held-out images noted in a run, to try predict on and to prove exports with


def prepare(
    folder: Path,
    data: AnyPath,
    request: ModelRequest,
    recipe: Recipe | None,
    changes: Mapping[str, Any],
    *,
    quiet: bool,
    log: Callable[[str], None],
) -> ImageData | BoxData:
    """Settle a run and write what determines it; the recipe comes last: once it is there, the run can begin.

    Args:
        folder: of the run.
        data: the data set.
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
    images = open_images(data, early, quiet=quiet)
    boxes = not isinstance(images, ImageData)
    size = early.size or _usual_size(request, images)
    resolved = (recipe or recipe_for(images.name, size, boxes=boxes, trained=request.weights is not None)).changed(
        changes
    )
    resolved.check_for(boxes=boxes)
    row: Row
    start: Network | None
    if isinstance(images, ImageData):
        row, start = classifier(request, images, size, resolved.seed)
    else:
        row, start = detector(request, images, size, resolved.seed)
    resolved = resolved.changed({"model": row_to_dict(row), "data": images.name, "size": size})
    with needs("train", "training"):
        from featherbone.training.autotune import resolve
        from featherbone.training.batch_norm import measured, sample_inputs
        from featherbone.training.optimizer import parameter_groups
    network = fitting(start, size) if start else build(resolved)
    parameter_groups(network, resolved)  # refuses parts that there are not
    resolved = resolve(resolved, network, replace(images, channels=row.in_chans))
    if start is not None and request.weights is not None:
        preprocess = preprocess_of(request.weights, size, boxes=boxes)
        inputs = sample_inputs(images.train, preprocess or usual_preprocess(resolved, row.in_chans, boxes=boxes))
        save(measured(start, inputs), folder / START, classes=images.classes, preprocess=preprocess)
    log(", ".join(f"{name} {value}" for name, value in resolved.to_dict().items() if name != "model"))
    write_json(folder / DATA, _facts(folder, images))
    write_json(folder / RECIPE, resolved.to_dict())
    return images


def _usual_size(request: ModelRequest, images: ImageData | BoxData) -> int:
    """Return the size that given weights were trained with for the same task, else the one that suits the images."""
    header = read_header(request.weights) if request.weights is not None else None
    if header is None or header.preprocess is None:
        return images.size
    same = isinstance(header.spec, Spec) is isinstance(images, ImageData)
    return header.preprocess.size if same else images.size


def is_detection(data: AnyPath) -> bool:
    """Return whether a data set has boxes; nothing but its layout is looked at."""
    with needs("train", "reading images"):
        from featherbone.data._box_open import is_detection as has_boxes
    return has_boxes(data)


def open_images(data: AnyPath, recipe: Recipe, *, run: Path | None = None, quiet: bool) -> ImageData | BoxData:
    """Return the images that a recipe is about; for a ``run`` that has begun, without decoding them all again.

    Raises:
        InputError: if they cannot be read.
    """
    scan = None
    if run is not None:
        facts = read_json(run / DATA)
        scan = ScanResult(tuple(Skipped(**file) for file in facts["skipped"]), facts["channels"] == 1)
    with needs("train", "reading images"):
        from featherbone.data._box_open import open_boxes
        from featherbone.data.open import open_data
    opened = open_boxes if is_detection(data) else open_data
    return opened(data, seed=recipe.seed, val_fraction=recipe.val_fraction, scan=scan, quiet=quiet)


def new_folder(out: AnyPath | None, data: AnyPath, request: ModelRequest) -> Path:
    """Return the folder of a new run: as given, or one that is named after data and network and is not there yet.

    Raises:
        InputError: if it is a file, or holds a run.
    """
    if out is None:
        name = f"{_plain(data)}-{_words(_network_name(data, request))}"
        return next(folder for i in count(1) if not (folder := Path("runs") / f"{name}-{i}").exists())
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out={folder} is a file: choose a folder")
    if (folder / RECIPE).exists():
        raise InputError(f"out={folder} holds a run already: resume it, or choose another folder")
    return folder


def _network_name(data: AnyPath, request: ModelRequest) -> str:
    """Return what the network that was asked for is called."""
    if request.model is not None:
        return request.model if isinstance(request.model, str) else request.model.family
    if request.weights is not None:
        row = read_header(request.weights).spec
        return row.backbone.family if isinstance(row, DetectorSpec) else row.family
    return DEFAULT_DETECTOR if is_detection(data) else DEFAULT_MODEL


def _plain(data: AnyPath) -> str:
    """Return a short name for a data set, for any disk and shell: no query of a URL, no numbers of a pattern."""
    given = os.fspath(data)
    path = given.partition("?")[0] if "://" in given else os.path.abspath(given)  # noqa: PTH100 - never fails
    parts = re.split(r"[/\\]", re.sub(r"\{\d+\.\.\d+\}", "", path).removesuffix(".tar"))
    return next((words for part in reversed(parts) if (words := _words(part))), "data")


def _words(text: str) -> str:
    """Return the words of a text, joined by hyphens."""
    return "-".join(re.findall(r"\w+(?:\.\w+)*", text))[:_LONGEST].strip("-.")


def _facts(folder: Path, images: ImageData | BoxData) -> dict[str, Any]:
    return {
        "name": images.name,
        "classes": list(images.classes),
        "train_images": len(images.train),
        "val_images": len(images.val),
        "channels": images.channels,
        "fingerprint": images.fingerprint,
        "skipped": [asdict(file) for file in images.skipped],
        "examples": [str(path) for path in _examples(folder, images)],
    }


def _examples(folder: Path, images: ImageData | BoxData) -> list[Path]:
    """Return a few held-out image files; what is no file, such as a digit, is written as one."""
    with needs("train", "writing images"):
        from featherbone.data.image import read_image
    if isinstance(images, BoxData):
        return [source for source in images.val.sources[:_EXAMPLES] if isinstance(source, Path)]
    found: list[Path] = []
    for label, name in list(enumerate(images.classes))[:_EXAMPLES]:
        if label not in images.val.labels:
            continue
        source = images.val.sources[images.val.labels.index(label)]
        if isinstance(source, Path):
            found.append(source)
        else:
            safe = re.sub(r"[^\w-]", "_", name)[:60]  # a table or shard may call its classes anything
            found.append(folder / "examples" / (f"{safe}.png" if safe == name else f"{label}-{safe}.png"))
            found[-1].parent.mkdir(parents=True, exist_ok=True)
            read_image(source, "L" if images.channels == 1 else "RGB").save(found[-1])
    return found
