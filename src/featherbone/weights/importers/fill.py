"""A network filled with the tensors of a file, and the account of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featherbone.data.names import printable
from featherbone.errors import InputError, counted
from featherbone.spec import Backbone
from featherbone.weights.importers.attempt import Attempt
from featherbone.weights.importers.checkpoint import Checkpoint
from featherbone.weights.importers.convert import translated
from featherbone.weights.importers.match import Match
from featherbone.weights.importers.order import BY_ORDER
from featherbone.weights.importers.report import Imported
from featherbone.weights.importers.values import COUNTS, Values


def fill(model: Backbone, attempt: Attempt, others: Sequence[str], checkpoint: Checkpoint) -> Imported:
    """Fill a network, in place, with the tensors of an attempt that fits; nothing is changed if it cannot be done.

    Args:
        model: the network.
        attempt: which tensors are which.
        others: what other weights in the file are called.
        checkpoint: the file.

    Raises:
        InputError: if values are NaN or infinite, or cannot be held.
    """
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
        by_order=match.source.name == BY_ORDER,
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
