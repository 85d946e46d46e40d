"""A run is a folder.

```text
RUN/recipe.json             all that determines the run
    data.json               classes, fingerprint of the images, files left out, a few held-out images
    files.csv               every file that it reads, with size, times and digest
    environment.json        where it is computed: versions, device, threads; and changes that were accepted
    start.safetensors       weights that it began with  (if not from scratch)
    writer.json             who writes to it, or did so last: process, machine, since when; .lock beside it is held
    examples/               held-out images that lie in no files of their own
    checkpoints/            the last two states that it can be resumed from
    batch.png               the first images that it learned from, as the network saw them
    history.csv             one row per epoch
    tensorboard/            the same for TensorBoard
    model.safetensors       the trained network     (when finished)
    best.safetensors        the same after its best epoch; with patience, where that is the run's answer,
    last.safetensors        the same after its last epoch instead  (when finished)
    result.json             what it reached         (when finished)
    run.html                curves, confusion, worst mistakes as pictures  (when finished)
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from featherbone.data.dataset import Skipped
from featherbone.errors import InputError
from featherbone.files import AnyPath, read_json, typed
from featherbone.training import Recipe
from featherbone.weights import FILE_NAME

RECIPE, DATA, RESULT, START = "recipe.json", "data.json", "result.json", "start.safetensors"
FILES, ENVIRONMENT, HISTORY = "files.csv", "environment.json", "history.csv"
BEST, LAST = "best.safetensors", "last.safetensors"
BATCH = "batch.png"
SEEDS = "seeds.json"  # of a folder that holds a run for each of several seeds
CHECKPOINTS, EXAMPLES, PAGE = "checkpoints", "examples", "run.html"
# what else a result holds
_NO_SCORES = ("train_seconds", "epochs", "torch", "threads", "machine", "changes", "best", "last")


@dataclass(frozen=True)
class Facts:
    """What ``data.json`` holds.

    Attributes:
        classes: names in label order.
        fingerprint: of the data set.
        val_images: how many images are held out.
        train_images: how many are learned from.
        drawn_from: how many these were drawn from, by the recipe's fraction; ``None`` if they are all.
        channels: of the images.
        task: what is learned; "" in older runs.
        skipped: files that were left out.
        examples: a few held-out image files.
    """

    classes: tuple[str, ...]
    fingerprint: str
    val_images: int
    train_images: int
    channels: int
    task: str = ""
    drawn_from: int | None = None
    skipped: tuple[Skipped, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpochWeights:
    """The weights that an epoch left behind.

    Attributes:
        epoch: counted from 1.
        scores: on the held-out images, as of the run.
        file: in the run's folder; "" if they were not kept.
    """

    epoch: int
    scores: Mapping[str, float]
    file: str


@dataclass(frozen=True)
class Result:
    """What ``result.json`` holds beside the scores.

    Attributes:
        train_seconds: in training and validating, over all sittings.
        scores: shares, 0 to 1.
        epochs: how many were trained; 0 if the result does not say.
        changes: what was changed since the run began, and accepted.
        best: the epoch with the best score; ``None`` in older runs.
        last: the last epoch; ``None`` in older runs.
    """

    train_seconds: float
    scores: Mapping[str, float]
    epochs: int = 0
    changes: tuple[str, ...] = ()
    best: EpochWeights | None = None
    last: EpochWeights | None = None


def run_of(weights: AnyPath) -> Path | None:
    """Return the folder of the run whose weights these are; ``None`` for a file that belongs to none.

    Args:
        weights: a run's folder, or one of its weight files.
    """
    path = Path(weights)
    if path.is_dir():
        return path
    return path.parent if path.name in (FILE_NAME, BEST, LAST) and (path.parent / RECIPE).exists() else None


def read_facts(run: AnyPath) -> Facts:
    """Return what is known of a run's data.

    Raises:
        InputError: if it cannot be read.
    """
    path = Path(run) / DATA
    return typed(read_json(path), Facts, path)


def read_result(run: AnyPath) -> Result:
    """Return what a run reached.

    Raises:
        InputError: if it cannot be read.
    """
    path = Path(run) / RESULT
    values = read_json(path)
    scores = {name: value for name, value in values.items() if name not in _NO_SCORES}
    return typed({**values, "scores": scores}, Result, path)


def read_recipe(run: AnyPath) -> Recipe:
    """Return the recipe of a run's folder; of a single weight file, whose recipe is not known, an empty one.

    Columns that were called otherwise when the run began are read under their present names, with a warning.

    Raises:
        InputError: if it cannot be read.
    """
    if not Path(run).is_dir():
        return Recipe()
    path = Path(run) / RECIPE
    values = read_json(path)
    try:
        return Recipe.from_dict(values)
    except InputError as error:
        raise InputError(f"{path} is not as it should be: {error}") from error
