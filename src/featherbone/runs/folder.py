"""A run is a folder.

```text
RUN/recipe.json             all that determines the run
    data.json               classes, fingerprint of the images, files left out, a few held-out images
    start.safetensors       weights that it began with  (if not from scratch)
    checkpoints/            the last two moments that can be gone on from
    history.csv             one row per epoch
    tensorboard/            the same for TensorBoard
    model.safetensors       the trained network     (when finished)
    result.json             what it reached         (when finished)
    run.html                curves, confusion, worst mistakes as pictures  (when finished)
```
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from featherbone.data import Preprocess
from featherbone.detect.detector import Detector
from featherbone.errors import InputError, nearest
from featherbone.models import list_models, row_for
from featherbone.spec import Backbone
from featherbone.training import Recipe
from featherbone.weights import Header, load, read_header

RECIPE, DATA, RESULT, START = "recipe.json", "data.json", "result.json", "start.safetensors"

AnyPath = str | os.PathLike[str]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} cannot be read: it holds no JSON object")
    return values


def read_recipe(run: AnyPath) -> Recipe:
    """Return the recipe of a run's folder; of a single weight file, whose recipe is not known, an empty one."""
    return Recipe.from_dict(read_json(Path(run) / RECIPE)) if Path(run).is_dir() else Recipe()


def open_network(
    source: AnyPath, *, num_classes: int | None = None, in_chans: int | None = None
) -> Backbone | Detector:
    """Return the trained network of a run or weight file, or a named one, freshly initialised; in evaluation mode.

    Args:
        source: a run's folder, a weight file, or the name of a network.
        num_classes: outputs of a named network; what a trained one must have.
        in_chans: channels that a named network reads; what a trained one must read.

    Raises:
        InputError: if there is no such network, or a trained one differs from what is asked.
    """
    if Path(source).exists():
        model = load(source, nn.Module, num_classes=num_classes)
        assert isinstance(model, Backbone | Detector)
        if in_chans not in (None, model.spec.in_chans):
            raise InputError(f"in_chans={in_chans}, but {source} reads {model.spec.in_chans} channels")
        return model
    name, names = os.fspath(source), list_models()
    if name not in names:
        raise InputError(f"{name} is neither a run, a weight file nor the name of a network{nearest(name, names)}")
    return row_for(name, num_classes=num_classes, in_chans=in_chans).build().eval()


def describe(run: AnyPath) -> tuple[Header, Preprocess]:
    """Return what a run or weight file says of itself, and how to feed it.

    Raises:
        InputError: if it cannot be read, or does not say its classes and preprocessing.
    """
    header = read_header(run)
    if not header.classes or header.preprocess is None:
        raise InputError(
            f"{run} does not say its classes and preprocessing: save it with classes=... and preprocess=..."
        )
    return header, header.preprocess
