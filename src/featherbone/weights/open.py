"""Whatever stands for a network, as its row or as the network itself: a name, a row, a run, a weight file, a module."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from featherbone.data import Preprocess
from featherbone.detect.detector import Detector, DetectorSpec
from featherbone.errors import InputError, check_type, nearest
from featherbone.files import AnyPath, exists
from featherbone.models import list_models, row_for
from featherbone.spec import Backbone, Spec
from featherbone.weights.store import Header, Network, Row, load, read_header

AnyNetwork = AnyPath | Row | nn.Module

_FORMS = "a network's name or row, a run or its folder, a weight file, or a module"


def open_network(
    source: AnyPath | Row | Network, *, num_classes: int | None = None, in_chans: int | None = None
) -> Backbone | Detector:
    """Return the trained network of a run or weight file, or a named one, freshly initialized; in evaluation mode.

    Args:
        source: a run or its folder, a weight file, the name of a network, or a row. A network is returned as it is.
        num_classes: outputs of a named network; what a trained one must have.
        in_chans: channels that a named network reads; what a trained one must read.

    Raises:
        InputError: if there is no such network, or a trained one differs from what is asked.
    """
    if isinstance(source, str | os.PathLike) and exists(Path(source)):
        model: Network = load(source, num_classes=num_classes)
    elif isinstance(source, Backbone | Detector):
        model = source
    elif isinstance(source, DetectorSpec):
        model = source.build().eval()
    else:
        return row_for(_named(source), num_classes=num_classes, in_chans=in_chans).build().eval()
    what_network = "the network" if isinstance(source, nn.Module | DetectorSpec) else source
    for name, wanted, given in (
        ("num_classes", num_classes, model.spec.num_classes),
        ("in_chans", in_chans, model.spec.in_chans),
    ):
        if wanted not in (None, given):
            what = "outputs" if name == "num_classes" else "channels"
            raise InputError(f"{name}={wanted}, but {what_network} has {given} {what}")
    return model


def open_module(source: AnyNetwork) -> nn.Module:
    """Return any module as it is, and what ``open_network`` returns for the rest.

    Raises:
        InputError: as ``open_network``.
    """
    return source if isinstance(source, nn.Module) else open_network(source)


def row_of(source: AnyPath | Row | Network) -> Row:
    """Return the row of a network; no weights are read, and nothing is built.

    Raises:
        InputError: if there is no such network.
    """
    if isinstance(source, Backbone | Detector):
        return source.spec
    if isinstance(source, str | os.PathLike) and exists(Path(source)):
        return read_header(source).spec
    return source if isinstance(source, DetectorSpec) else _named(source)


def header_of(source: AnyNetwork) -> Header | None:
    """Return what a network says of itself: all that its file says, else its row; ``None`` for a foreign module.

    Raises:
        InputError: if there is no such network.
    """
    if isinstance(source, str | os.PathLike) and exists(Path(source)):
        return read_header(source)
    if isinstance(source, nn.Module) and not isinstance(source, Backbone | Detector):
        return None
    return Header(row_of(source))


def describe(run: AnyPath) -> tuple[Header, Preprocess]:
    """Return what a run or weight file says of itself, and how to feed it.

    Raises:
        InputError: if it cannot be read, or does not say its classes and preprocessing.
    """
    check_type("run", run, (str, os.PathLike), "a run, its folder, or a weight file such as 'save' writes of a network")
    header = read_header(run)
    if not header.classes or header.preprocess is None:
        raise InputError(
            f"{run} does not say its classes and preprocessing: save it with classes=... and preprocess=..."
        )
    return header, header.preprocess


def _named(source: AnyPath | Spec) -> Spec:
    """Return the row of a name; a row is returned as it is.

    Raises:
        InputError: if it is neither.
    """
    check_type("source", source, (str, os.PathLike, Spec), _FORMS)
    if isinstance(source, Spec):
        return source
    name, names = os.fspath(source), list_models()
    if name not in names:
        raise InputError(f"{name} is neither a run, a weight file nor the name of a network{nearest(name, names)}")
    return row_for(name)
