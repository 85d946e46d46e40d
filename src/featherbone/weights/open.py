"""Open a network by the name of a run, a weight file or a published network."""

from __future__ import annotations

import os
from pathlib import Path

from featherbone.data import Preprocess
from featherbone.detect.detector import Detector
from featherbone.errors import InputError, nearest
from featherbone.files import AnyPath, exists
from featherbone.models import list_models, row_for
from featherbone.spec import Backbone
from featherbone.weights import Header, load_any, read_header


def open_network(
    source: AnyPath, *, num_classes: int | None = None, in_chans: int | None = None
) -> Backbone | Detector:
    """Return the trained network of a run or weight file, or a named one, freshly initialized; in evaluation mode.

    Args:
        source: a run's folder, a weight file, or the name of a network.
        num_classes: outputs of a named network; what a trained one must have.
        in_chans: channels that a named network reads; what a trained one must read.

    Raises:
        InputError: if there is no such network, or a trained one differs from what is asked.
    """
    if exists(Path(source)):
        model = load_any(source, num_classes=num_classes)
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
