"""Weights of other projects in our networks: recognized, renamed, reordered, and accounted for to the last tensor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from featherbone.data import Preprocess
from featherbone.errors import InputError, check_type, some
from featherbone.models import list_models
from featherbone.models import spec as named_spec
from featherbone.spec import Backbone, Spec
from featherbone.weights.catalog import PUBLISHED
from featherbone.weights.importers.checkpoint import read_tensors
from featherbone.weights.importers.convert import COUNTS, misfits, translated
from featherbone.weights.importers.match import Match, ours, recognize
from featherbone.weights.importers.sources import SOURCES

_EXPECTED = ("num_classes", "in_chans")  # columns that follow the file without a word


@dataclass(frozen=True)
class Imported:
    """What came of loading foreign weights.

    Attributes:
        source: the project whose form the file has.
        loaded: how many of our tensors were filled.
        missing: our tensors that the file has nothing for; they keep what they had. Only last layers may be missing.
        left_over: tensors of the file that no layer of ours takes, for example a detector's head.
        notes: what was adapted on the way.
        preprocess: how the weights want their images, where the project's files do not differ in it.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None


def load_weights(
    model: Backbone,
    source: str | os.PathLike[str] | Mapping[str, Tensor],
    *,
    config: str | os.PathLike[str] | None = None,
) -> Imported:
    """Fill a network, in place, with weights of another project (or plain ones of ours).

    Recognized are the forms in which torchvision, timm, pytorchcv and the papers' authors publish these families;
    names are translated, channels put in our order, folded norms unfolded, and a first convolution for other channels
    adapted (grey: the sum over the colours; more: the colours repeated and scaled). A classifier for another number of
    classes is left out.

    Args:
        model: the network.
        source: a file (safetensors, a PyTorch checkpoint, darknet's ``.weights``), or named tensors.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.

    Raises:
        InputError: if the file cannot be read, its form is not known, or it does not fit the network; the network is
            then as it was.
    """
    check_type("model", model, Backbone, "a classifier; weights of whole detectors are not imported")
    check_type("source", source, (str, os.PathLike, Mapping), "the path of a file, or named tensors")
    given = _in_full(source if isinstance(source, Mapping) else read_tensors(source, config))
    what = "the given tensors" if isinstance(source, Mapping) else str(source)
    if set(given) >= {name for name in model.state_dict() if not name.startswith("head.")}:
        return _load(model, given, ours(model, given), what)
    match = recognize(model.spec, given)
    if match is None:
        raise InputError(f"{what} is in no form of {model.spec.family} that is known{_suggestion(given)}")
    return _load(model, given, match, what)


def import_weights(
    network: str | Spec,
    source: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
) -> tuple[Backbone, Imported]:
    """Return a network with foreign weights, in evaluation mode. What the file decides is taken from it.

    The numbers of classes and of input channels, whether there is a norm after a small stem, and whether the
    classifier has a bias: those columns follow the file.

    Args:
        network: the name of the network, or a row.
        source: the file.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.

    Raises:
        InputError: as ``load_weights``; or if the name is unknown.
    """
    check_type("network", network, (str, Spec), "the name of a network, or its row")
    check_type("source", source, (str, os.PathLike), "the path of a file")
    row = named_spec(network) if isinstance(network, str) else network
    given = _in_full(read_tensors(source, config))
    candidates = dict.fromkeys(candidate for project in SOURCES[row.family] for candidate in project.rows(row))
    known = [(candidate, match) for candidate in candidates if (match := recognize(candidate, given))]
    failed = f"{source} is in no form of {row.family} that is known{_suggestion(given) if not known else ''}"
    for candidate, match in sorted(known, key=lambda pair: -pair[1].found):
        decided = _decided(candidate, match)
        model = decided.build().eval()
        try:
            report = _load(model, given, match, str(source))
        except InputError as error:
            failed = str(error)
            continue
        changed = [field.name for field in fields(row) if getattr(row, field.name) != getattr(decided, field.name)]
        shown = [f"{name}={getattr(decided, name)}, as in the file" for name in changed if name not in _EXPECTED]
        preprocess = report.preprocess or _published_preprocess(network, report.source, decided)
        return model, replace(report, notes=(*shown, *report.notes), preprocess=preprocess)
    raise InputError(failed)


def _in_full(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return half-precision tensors as float32, since arithmetic on them would lose digits."""
    halves = (torch.float16, torch.bfloat16)
    return {name: tensor.float() if tensor.dtype in halves else tensor for name, tensor in tensors.items()}


def _published_preprocess(network: str | Spec, source: str, row: Spec) -> Preprocess | None:
    """Return how a project's published weights of a network want their images: those of 1000 classes."""
    published = PUBLISHED.get(network) if isinstance(network, str) else None
    place = "torchvision" if published and published.place == "torchvision" else "timm"
    return published.preprocess if published and row.num_classes == 1000 and place in source else None


def _decided(row: Spec, match: Match) -> Spec:
    """Return the row with the numbers of classes and channels, and the bias of the classifier, that the file has."""
    first, last = match.get(match.layers[0], "weight"), match.get(match.layers[-1], "weight")
    columns: dict[str, Any] = {}
    if first:
        columns["in_chans"] = match.layers[0].weight(first).shape[1]
    if last:
        columns["num_classes"] = last[0].shape[0]
        if "classifier_bias" in {field.name for field in fields(row)}:
            columns["classifier_bias"] = match.get(match.layers[-1], "bias") is not None
    match.used.clear()
    return replace(row, **columns)


def _load(model: Backbone, given: Mapping[str, Tensor], match: Match, what: str) -> Imported:
    try:
        state, notes = translated(model, match)
        problems = misfits(model, state)
    except InputError as error:
        problems = [str(error)]
    if problems:
        raise InputError(f"{what} does not fit the network: {some(problems, 3)}{_suggestion(given)}")
    wanted = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            wanted[name].copy_(tensor)
    return Imported(
        source=match.source.name,
        loaded=len(state),
        missing=tuple(name for name in wanted if name not in state),
        left_over=tuple(name for name in match.tensors if name not in match.used and not name.endswith(COUNTS)),
        notes=tuple(dict.fromkeys(notes)),
        preprocess=match.source.preprocess,
    )


def _suggestion(tensors: Mapping[str, Tensor]) -> str:
    """Return which of our networks the tensors fit, so that the form can be named."""
    fitting = [name for name in list_models() if _fits(named_spec(name), tensors)]
    return f"; they fit {some(fitting)}" if fitting else ""


def _fits(row: Spec, tensors: Mapping[str, Tensor]) -> bool:
    match = recognize(row, tensors)
    if match is None:
        return False
    with torch.device("meta"):
        model = row.build()
    try:
        return not misfits(model, translated(model, match)[0])
    except InputError:  # channels that cannot be reordered
        return False
