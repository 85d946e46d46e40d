"""Weights of other projects in our networks: recognized, renamed, reordered, and accounted for to the last tensor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from featherbone.data import Preprocess
from featherbone.data.names import printable
from featherbone.errors import InputError, check_type, counted, first_line, some
from featherbone.models import list_models
from featherbone.models import spec as named_spec
from featherbone.spec import Backbone, Spec
from featherbone.weights.catalog import PUBLISHED
from featherbone.weights.importers.checkpoint import Checkpoint, read_checkpoint
from featherbone.weights.importers.convert import misfits, translated
from featherbone.weights.importers.match import OURS, Match, layers_of, matches, own_layers, shapes_of
from featherbone.weights.importers.sources import SOURCES
from featherbone.weights.importers.values import COUNTS, Values

_EXPECTED = ("num_classes", "in_chans")  # columns that follow the file without a word


@dataclass(frozen=True)
class Imported:
    """What came of loading foreign weights.

    Attributes:
        source: the project whose form the file has.
        loaded: how many of our tensors were filled.
        missing: our tensors that the file has nothing for; they keep what they had. Only last layers may be missing.
        left_over: tensors beside the loaded ones that no layer of ours takes, for example a detector's head.
        notes: what was chosen, converted and adapted on the way.
        preprocess: how the weights want their images, where the project's files do not differ in it.
        part: what the weights are called in the file, for example "state_dict"; nothing where they are alone in it.
        others: what else the file holds tensors under, for example other weights of the network, or an optimizer.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    part: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    """A network's row against weights in a file, and what keeps them from fitting."""

    row: Spec
    match: Match
    problems: list[str]


def load_weights(
    model: Backbone,
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    config: str | os.PathLike[str] | None = None,
    part: str = "",
) -> Imported:
    """Fill a network, in place, with weights of another project (or plain ones of ours).

    Recognized are the forms in which torchvision, timm, pytorchcv and the papers' authors publish these families;
    names are translated, channels put in our order, folded norms unfolded, and a first convolution for other channels
    adapted (grey: the sum over the colours; more: the colours repeated and scaled). A classifier for another number of
    classes is left out. Of a checkpoint with averaged weights these are taken, as the programs that keep them evaluate
    and publish them.

    Args:
        model: the network.
        source: a file (safetensors, a PyTorch checkpoint, darknet's ``.weights``), or named tensors.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.
        part: which weights of several in the file, by the name under which they lie there, as "state_dict_ema".

    Raises:
        InputError: if the file cannot be read, its form is not known, it does not fit the network or does not say which
            of several weights are meant, or values are NaN or infinite; the network is then as it was.
    """
    check_type("model", model, Backbone, "a classifier; weights of whole detectors are not imported")
    check_type("source", source, (str, os.PathLike, Mapping), "the path of a file, or named tensors")
    checkpoint = read_checkpoint(source, config)
    shapes, own = shapes_of(checkpoint), [name for name, _ in layers_of(model)]
    attempts = [_tried(model.spec, match, model) for match in matches(model.spec, shapes, own)]
    attempt, others = _chosen(attempts, checkpoint, part, model.spec.family)
    return _load(model, attempt, others, checkpoint)


def import_weights(
    network: str | Spec,
    source: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
    part: str = "",
) -> tuple[Backbone, Imported]:
    """Return a network with foreign weights, in evaluation mode. What the file decides is taken from it.

    The numbers of classes and of input channels, whether there is a norm after a small stem, and whether the
    classifier has a bias: those columns follow the file. It may also be what ``torch.save`` made of the ``state_dict``
    of a network of ours.

    Args:
        network: the name of the network, or a row.
        source: the file.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.
        part: which weights of several in the file, by the name under which they lie there, as "state_dict_ema".

    Raises:
        InputError: as ``load_weights``; or if the name is unknown.
    """
    check_type("network", network, (str, Spec), "the name of a network, or its row")
    check_type("source", source, (str, os.PathLike), "the path of a file")
    row = named_spec(network) if isinstance(network, str) else network
    checkpoint = read_checkpoint(source, config)
    shapes = shapes_of(checkpoint)
    attempts = []
    like_ours = any(".stages." in f".{name}" for name in shapes)
    for candidate in _candidates(row, like_ours=like_ours):
        own = own_layers(candidate) if like_ours else ()
        attempts += [_tried(candidate, match) for match in matches(candidate, shapes, own)]
    attempt, others = _chosen(attempts, checkpoint, part, row.family)
    model = attempt.row.build().eval()
    report = _load(model, attempt, others, checkpoint)
    changed = [field.name for field in fields(row) if getattr(row, field.name) != getattr(attempt.row, field.name)]
    shown = [f"{name}={getattr(attempt.row, name)}, as in the file" for name in changed if name not in _EXPECTED]
    if report.source == OURS and len(_strides(attempts, attempt)) > 1:
        shown.append(f"stem_stride={attempt.row.stem_stride}, as published: the tensors do not tell it")
    preprocess = report.preprocess or _published_preprocess(network, report.source, attempt.row)
    return model, replace(report, notes=(*shown, *report.notes), preprocess=preprocess)


def _candidates(row: Spec, *, like_ours: bool) -> list[Spec]:
    """Return the row, and those that files of the same network also come in; of ours, those of other stems."""
    projects = [candidate for project in SOURCES[row.family] for candidate in project.rows(row)]
    stems = [replace(row, stem_stride=stride) for stride in (4, 2, 1)] if like_ours else []
    return list(dict.fromkeys([row, *projects, *stems]))


def _strides(attempts: Iterable[_Attempt], chosen: _Attempt) -> set[int]:
    """Return the strides of stems of our own form whose tensors would be of the same shapes."""
    return {
        one.row.stem_stride
        for one in attempts
        if not one.problems and one.match.source.name == OURS and one.match.prefix == chosen.match.prefix
    }


def _tried(row: Spec, match: Match, model: Backbone | None = None) -> _Attempt:
    """Return what keeps tensors of the match's shapes from being a network's; nothing is computed with values.

    Args:
        row: the network's.
        match: with shapes alone.
        model: the network; default: that of the row, with the columns that the file decides.
    """
    try:
        row = row if model else _decided(row, match)
        model = model or row.build_empty()
        return _Attempt(row, match, misfits(model, translated(model, match)[0]))
    except Exception as error:  # noqa: BLE001 - shapes of strangers make tensor operations fail in any way
        return _Attempt(row, match, [first_line(error)])


def _chosen(attempts: list[_Attempt], checkpoint: Checkpoint, part: str, family: str) -> tuple[_Attempt, list[str]]:
    """Return the attempt to load, of several weights the average or what is asked for, and what the others are called.

    Raises:
        InputError: if none fits, or several do and it is not clear which are meant.
    """
    what = checkpoint.name
    every = [one.match.label for one in attempts if not one.problems]
    if part:
        labels = list(dict.fromkeys(one.match.label for one in attempts))
        attempts = [one for one in attempts if f".{one.match.label}.".find(f".{part}.") >= 0]
        if not attempts:
            raise InputError(f"part={part!r} is not allowed: {what} holds weights of it under {_listed(labels)}")
    if not attempts:
        raise InputError(f"{what} is in no form of {family} that is known{_suggestion(checkpoint)}")
    attempts = [one if not one.problems else _completed(one, attempts, checkpoint) for one in attempts]
    best: dict[str, _Attempt] = {}
    for one in sorted(attempts, key=lambda one: -one.match.found):
        if not one.problems:
            best.setdefault(one.match.label, one)
    if not best:
        problems = max(attempts, key=lambda one: one.match.found).problems
        raise InputError(f"{what} does not fit the network: {some(problems, 3)}{_suggestion(checkpoint)}")
    averages = [label for label in best if checkpoint.is_average(label)]
    odd = [one for one in attempts if checkpoint.is_average(one.match.label) and one.match.label not in best]
    if odd and not averages and not part:
        raise InputError(
            f"{what} holds averaged weights under {_listed([odd[0].match.label])}, which do not fit the network "
            f"({some(odd[0].problems, 2)}), and others under {_listed(best)}: say which with part=NAME"
        )
    labels = averages or list(best)
    if any(not _same(best[labels[0]], best[label], checkpoint) for label in labels[1:]):
        raise InputError(f"{what} holds weights of this network under {_listed(labels)}: say which with part=NAME")
    return best[labels[0]], [label for label in dict.fromkeys(every) if label != labels[0]]


def _listed(labels: Iterable[str]) -> str:
    return some([printable(label) or "no name" for label in labels], 8)


def _completed(attempt: _Attempt, attempts: Iterable[_Attempt], checkpoint: Checkpoint) -> _Attempt:
    """Return an average of parameters alone with the statistics of norms that the raw weights beside it have."""
    if not checkpoint.is_average(attempt.match.label):
        return attempt
    for other in attempts:
        same = other.match.source.name == attempt.match.source.name and other.row == attempt.row
        if same and not other.problems and other.match.label != attempt.match.label:
            return _tried(attempt.row, attempt.match.with_statistics(other.match), attempt.row.build_empty())
    return attempt


def _same(one: _Attempt, other: _Attempt, checkpoint: Checkpoint) -> bool:
    """Return whether two names in a file stand for the same weights."""
    ours, theirs = (
        {name.removeprefix(attempt.match.prefix): own for name, own in attempt.match.names.items()
         if name.startswith(attempt.match.prefix)}
        for attempt in (one, other)
    )  # fmt: skip
    pairs = [
        (checkpoint.tensors[own], checkpoint.tensors[theirs[name]]) for name, own in ours.items() if name in theirs
    ]
    return all(a is b or (a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())) for a, b in pairs)


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
    return replace(row, **columns)


def _load(model: Backbone, attempt: _Attempt, others: Sequence[str], checkpoint: Checkpoint) -> Imported:
    values = Values(checkpoint.tensors)
    match = attempt.match.of(values)
    try:
        state, notes = translated(model, match)
        wanted = model.state_dict()
        ready = {name: _as(wanted[name], tensor, name, notes) for name, tensor in state.items()}
    except InputError as error:
        raise InputError(f"{checkpoint.name} cannot be loaded: {error}") from error
    with torch.no_grad():
        for name, tensor in ready.items():
            wanted[name].copy_(tensor)
    left_over, beside = _unused(match, others, checkpoint)
    return Imported(
        source=match.source.name,
        loaded=len(state),
        missing=tuple(name for name in wanted if name not in state),
        left_over=tuple(left_over),
        notes=tuple(dict.fromkeys([*_choice(match, checkpoint), *values.notes(), *notes])),
        preprocess=match.source.preprocess,
        part=match.label,
        others=tuple(beside),
    )


def _unused(match: Match, others: Sequence[str], checkpoint: Checkpoint) -> tuple[list[str], list[str]]:
    """Return the names of tensors beside those that were taken, and under what the file holds anything else."""
    taken = {checkpoint.given[name][0] for name in match.used if name.startswith(match.prefix)}
    known = {label.split(".")[0] for label in others}
    left_over, beside = [], dict.fromkeys(others)
    for name, (where, inner) in checkpoint.given.items():
        if name in match.used or any(name.startswith(f"{label}.") for label in others):
            continue
        if where in taken:
            left_over += [] if inner.endswith((COUNTS, "n_averaged")) else [inner]
        elif (first := (where or inner).split(".")[0]) not in known:
            beside[first] = None
    return left_over, list(beside)


def _as(wanted: Tensor, tensor: Tensor, name: str, notes: list[str]) -> Tensor:
    """Return a tensor in the type of ours, if its values can be held there."""
    if tensor.dtype == torch.float64 and wanted.dtype == torch.float32:
        notes.append("float64 was rounded to float32")
        if not bool(tensor.float().isfinite().all()):
            raise InputError(f"{name} holds values too large for float32")
    return tensor.to(wanted.dtype)


def _choice(match: Match, checkpoint: Checkpoint) -> list[str]:
    """Return what is to be said of the weights that were taken."""
    said = []
    if checkpoint.is_average(match.label):
        said.append(f"averaged weights were taken ({printable(match.label) or 'n_averaged'})")
    if match.borrowed:
        said.append(f"{counted(match.borrowed, 'statistic')} of norms are the raw weights', as the average has none")
    return said


def _suggestion(checkpoint: Checkpoint) -> str:
    """Return which of our networks the tensors fit, so that the form can be named."""
    shapes = shapes_of(checkpoint)
    own = any(re.search(r"(^|\.)head\.(\w+\.)?classifier\.weight$", name) for name in shapes)
    fitting = [name for name in list_models() if _fits(named_spec(name), shapes, own=own)]
    return f"; they fit {some(fitting)}" if fitting else ""


def _fits(row: Spec, shapes: Mapping[str, Tensor], *, own: bool) -> bool:
    found = matches(row, shapes, own_layers(row) if own else ())
    return any(not _tried(row, match, row.build_empty()).problems for match in found)
