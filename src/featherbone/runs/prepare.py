"""What is resolved before a run begins and written to its folder: recipe, facts of the data, weights to start from."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from featherbone.data import Preprocess
from featherbone.data.dataset import AnyData, ScanResult
from featherbone.data.fraction import with_fraction
from featherbone.data.progress import waiting
from featherbone.errors import InputError, masked, needs, some
from featherbone.files import AnyPath, check_outside, write_json
from featherbone.runs.folder import (
    BATCH,
    BEST,
    CHECKPOINTS,
    DATA,
    ENVIRONMENT,
    EXAMPLES,
    FILES,
    HISTORY,
    LAST,
    PAGE,
    RECIPE,
    RESULT,
    SEEDS,
    START,
    read_facts,
)
from featherbone.runs.outline import tell_outline
from featherbone.runs.start import ModelRequest, build
from featherbone.training import RECIPES, Recipe
from featherbone.weights import FILE_NAME, read_header, row_to_dict, save

if TYPE_CHECKING:
    from featherbone.runs.tasks import Task

_FIRST = (START, EXAMPLES, FILES, DATA)  # what is written before the recipe
_LATER = (ENVIRONMENT, BATCH, HISTORY, CHECKPOINTS, FILE_NAME, BEST, LAST, RESULT, PAGE, SEEDS)
_LONGEST = 40  # characters of a name in the name of a run's folder
_MOST_SAID = 10  # lines about what was left out, before the first epoch
_EXAMPLES = 10  # held-out images noted in a run, to try predict on and to verify exports with


def prepare(
    folder: Path,
    data: AnyPath,
    task: Task,
    request: ModelRequest,
    recipe: Recipe | None,
    changes: Mapping[str, Any],
    *,
    device: torch.device,
    quiet: bool,
    log: Callable[[str], None],
    like: Path | None = None,
) -> AnyData:
    """Resolve a run and write what determines it; the recipe comes last: once it is there, the run can begin.

    Args:
        folder: of the run.
        data: the data set.
        task: what the run learns.
        request: the network that was asked for.
        recipe: how to train; ``None`` for what suits the data.
        changes: columns of the recipe to change.
        device: where it will be trained.
        quiet: no progress on the error stream.
        log: told the outline of the run, line by line.
        like: a run that has read the same images, so that none is decoded here.

    Raises:
        InputError: if an argument is not usable.
    """
    if changes.get("minutes") and "epochs" in changes:
        raise InputError("minutes (--time) and epochs both say how long to train: leave one out")
    early = (recipe or Recipe()).changed(changes)  # refuses wrong columns before the data is read
    request.check()
    images = open_images(task, data, early, run=like, quiet=quiet)
    for one in images.skipped[:_MOST_SAID]:
        log(f"left out: {one.path}: {one.reason}")
    if len(images.skipped) > _MOST_SAID:
        log(f"left out: {len(images.skipped) - _MOST_SAID:,} more, at the end and in the run")
    for note in images.notes:
        warnings.warn(f"{images.name}: {note}", stacklevel=3)
    _check_outside(folder, images)
    size = early.size or _usual_size(request, images, task)
    trained = request.weights is not None
    base = recipe or task.recipe(images.name, size, trained=trained, images=len(images.train))
    resolved = base.changed(changes)
    resolved.check_for(task.name)
    row, start = task.start(request, images, size, resolved.seed)
    resolved = resolved.changed({"model": row_to_dict(row), "data": images.name, "size": size})
    with needs("train", "training"):
        from featherbone.runs.identity import write_files
        from featherbone.training.autotune import resolve
        from featherbone.training.batch_norm import check_batches, measured, sample_inputs, smallest_input
        from featherbone.training.optimizer import parameter_groups
    network = start or build(resolved)
    network.check_size(min(size, smallest_input(resolved)))
    parameter_groups(network, resolved)  # refuses to freeze what the network does not have
    if learns_badly := check_batches(network, resolved, len(images.train), row.in_chans):
        log(learns_badly)
    with waiting("timing precisions and memory orders", quiet=quiet):
        resolved = resolve(resolved, network, replace(images, channels=row.in_chans), device)
    if start is not None and request.weights is not None:
        known = read_header(request.weights).preprocess
        preprocess = task.preprocess(known.resized(size)) if known else None
        with waiting("measuring norms on the images", quiet=quiet):
            inputs = sample_inputs(images.train, preprocess or usual_preprocess(task, resolved, row.in_chans))
            save(measured(start, inputs), folder / START, classes=images.classes, preprocess=preprocess)
    named = base if recipe or base in RECIPES.values() else None  # a default may be a named one, changed
    tell_outline(log, folder, images, task, network, resolved, base=named, weights=request.weights)
    write_files(folder, images, resolved, quiet=quiet)
    write_json(folder / DATA, _facts(folder, images, task))
    write_json(folder / RECIPE, resolved.to_dict())
    return images


def usual_preprocess(task: Task, recipe: Recipe, channels: int) -> Preprocess:
    """Return how inputs are prepared for a new network, or for one whose weights do not say it."""
    return task.preprocess(Preprocess.usual(recipe.size, channels, crop=recipe.crop_pct))


def open_images(task: Task, data: AnyPath, recipe: Recipe, *, run: Path | None = None, quiet: bool) -> AnyData:
    """Return a recipe's data set, its share to learn from drawn; for a ``run`` that has begun, decoding no image again.

    Raises:
        InputError: if they cannot be read.
    """
    scan = None
    if run is not None:
        facts = read_facts(run)
        scan = ScanResult(facts.skipped, facts.channels == 1)
    opener, split = task.opener, recipe.seed if recipe.split_seed is None else recipe.split_seed
    images = opener.open(data, seed=split, val_fraction=recipe.val_fraction, scan=scan, quiet=quiet)
    return with_fraction(images, opener.assembler.strata, recipe.fraction, recipe.seed)


def _usual_size(request: ModelRequest, images: AnyData, task: Task) -> int:
    """Return the size that given weights were trained with for the same task, else the one that suits the images."""
    from featherbone.runs.tasks import task_of

    header = read_header(request.weights) if request.weights is not None else None
    known = header.preprocess if header and task_of(header) is task else None
    return known.size if known else images.size


@contextmanager
def new_folder(out: AnyPath | None, data: AnyPath, request: ModelRequest, task: Task) -> Iterator[Path]:
    """Be the one writer, inside the block, of the folder of a new run; if nothing comes of it, it is gone afterwards.

    Args:
        out: the folder; ``None`` for one that is named after data and network and was not there.
        data: the data set.
        request: the network that was asked for.
        task: what the run learns.

    Raises:
        InputError: if it is a file, lies inside the data, has a run or other files that a run would replace, or if
            another process is its writer.
    """
    with needs("train", "training"):
        from featherbone.runs.writer import forget, writing
    wanted = usual_folders(data, request, task) if out is None else iter([Path(out)])
    for folder in wanted:
        _check_free(folder)
        check_outside("out", folder, data)
        made = made_folders(folder)
        if folder in made or out is not None:  # or another process was quicker with this name
            break
    try:
        with writing(folder, lambda: _check_free(folder)):
            _clear(folder)
            try:
                yield folder
            finally:
                if not (folder / RECIPE).exists():
                    _clear(folder)
                    forget(folder)
    finally:
        for place in made:
            with suppress(OSError):  # it holds a run
                place.rmdir()


def usual_folders(data: AnyPath, request: ModelRequest, task: Task) -> Iterator[Path]:
    """Yield the folders that a run may have that nobody has named, as far as they are not there yet."""
    name = f"{_plain(data)}-{_words(_network_name(request, task))}"
    numbered = (Path("runs") / f"{name}-{i}" for i in count(1))
    return (folder for folder in numbered if not os.path.lexists(folder))


def _check_free(folder: Path) -> None:
    """Refuse a folder in which a run would replace something.

    Raises:
        InputError: if it is one.
    """
    from featherbone.runs.writer import WRITER, last_writer

    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"out={folder} is a file: choose a folder")
    if os.path.lexists(folder / RECIPE):
        raise InputError(
            f"out={folder} holds a run already, last written to by {last_writer(folder)}: resume it, or choose another "
            "folder"
        )
    taken = [name for name in (*_FIRST, *_LATER) if os.path.lexists(folder / name)]
    left_by_killed = os.path.lexists(folder / WRITER) and set(taken) <= set(_FIRST)
    if taken and not left_by_killed:
        raise InputError(f"out={folder} holds {some(taken)} already, which a run would replace: choose another folder")


def _clear(folder: Path) -> None:
    """Remove what is written before a recipe: without one it is of no use, and another run would take it for its."""
    for path in (folder / name for name in _FIRST):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def made_folders(folder: Path) -> list[Path]:
    """Make a folder, and those that it lies in, and return those that were not there, the innermost first.

    Raises:
        InputError: if it cannot be written.
    """
    absent = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    made: list[Path] = []
    for place in reversed(absent):
        try:
            place.mkdir()
        except FileExistsError:  # another process was quicker
            continue
        except OSError as error:
            raise InputError(f"cannot write out={folder}: {error.strerror or error}") from error
        made.insert(0, place)
    return made


def _check_outside(folder: Path, images: AnyData) -> None:
    """Refuse a folder inside one whose images a description lists as a whole.

    Raises:
        InputError: if it is one.
    """
    if images.name.lower().endswith((".yaml", ".yml")):
        sources = (*images.train.sources, *images.val.sources)
        for place in {source.parent for source in sources if isinstance(source, Path)}:
            check_outside("out", folder, place)


def _network_name(request: ModelRequest, task: Task) -> str:
    """Return the name of the network that was asked for."""
    if request.model is not None:
        return request.model if isinstance(request.model, str) else request.model.family
    if request.weights is not None:
        return read_header(request.weights).spec.network
    return task.default_model


def _plain(data: AnyPath) -> str:
    """Return a short name for a data set, for any disk and shell: no query of a URL, no numbers of a pattern."""
    given = masked(os.fspath(data))
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
        "drawn_from": images.drawn_from,
        "val_images": len(images.val),
        "channels": images.channels,
        "fingerprint": images.fingerprint,
        "skipped": [asdict(file) for file in images.skipped],
        "notes": list(images.notes),
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
        found.append(folder / EXAMPLES / (f"{safe}.png" if safe == name else f"{number}-{safe}.png"))
        found[-1].parent.mkdir(parents=True, exist_ok=True)
        read_image(source, image_mode(images.channels)).save(found[-1])
    return found
