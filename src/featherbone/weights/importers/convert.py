"""A file's tensors as ours: renamed, unfolded, reordered, fitted to other channels and classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featherbone.data.names import printable
from featherbone.errors import InputError
from featherbone.spec import Backbone
from featherbone.weights.importers.match import Match, layers_of
from featherbone.weights.importers.sources import LayerMapping, State
from featherbone.weights.importers.values import COUNTS

_NORM = ("weight", "bias", "running_mean", "running_var")


def translated(model: Backbone, match: Match) -> tuple[State, list[str]]:
    """Return the file's tensors under our names, and what was adapted."""
    leaves = layers_of(model)
    state: State = {}
    notes: list[str] = []
    for index, ((name, part), layer) in enumerate(zip(leaves, match.layers, strict=False)):
        if isinstance(part, nn.BatchNorm2d):
            before, joined = leaves[index - 1][1], _beside(leaves[index - 1][0], name)
            bias = _bias_before(before, match.layers[index - 1], match) if joined else None
            if match.has(layer):
                state |= _norm(name, layer, match, part.eps, bias)
            elif bias is not None:
                state |= _unfolded(name, bias, part.eps)
                notes.append("norms were folded into convolutions: they only add the convolution's bias now")
            continue
        for tensor, _ in part.named_parameters(recurse=False):
            found = match.get(layer, tensor)
            if found:
                state[f"{name}.{tensor}"] = layer.weight(found) if tensor == "weight" else layer.outputs(found)
        if isinstance(part, nn.Linear) and part.bias is not None and f"{name}.weight" in state:
            if f"{name}.bias" not in state:
                notes.append("the file's classifier has no bias: it is 0")
            state.setdefault(f"{name}.bias", torch.zeros(state[f"{name}.weight"].shape[0]))
    _adapt(state, model, notes)
    if match.source.permute and not misfits(model, state):
        state = match.source.permute(model.spec, state)
        notes.append(match.source.reordered)
    return state, notes


def misfits(model: Backbone, state: State) -> list[str]:
    """Return what keeps a state from being loaded; last layers may be missing."""
    wanted = model.state_dict()
    shapes = [
        f"{name} is {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in state.items()
        if tensor.shape != wanted[name].shape
    ]
    return shapes + [f"nothing for {name}" for name in wanted if name not in state and not name.startswith("head.")]


def _beside(convolution: str, norm: str) -> bool:
    """Return whether the norm reads what the convolution makes and nothing else: they stand in one sequence."""
    return convolution.rpartition(".")[0] == norm.rpartition(".")[0]


def _bias_before(part: nn.Module, layer: LayerMapping, match: Match) -> Tensor | None:
    """Return the bias that the file's convolution before a norm has, and ours has not."""
    found = match.get(layer, "bias") if isinstance(part, nn.Conv2d) and part.bias is None else None
    return layer.outputs(found) if found else None


def _norm(name: str, layer: LayerMapping, match: Match, eps: float, bias: Tensor | None) -> State:
    state = {}
    for tensor in _NORM:
        found = match.get(layer, tensor)
        if found:
            state[f"{name}.{tensor}"] = layer.outputs(found)
    if 0 < len(state) < 4:
        lacking = [tensor for tensor in _NORM if f"{name}.{tensor}" not in state]
        raise InputError(
            f"{printable(layer.names[0])} has no {' and no '.join(lacking)}, which our batch norm {name} needs: a "
            "group norm or an EvoNorm has none, and some files leave them out"
        )
    if len(state) == 4:
        counts = match.get(layer, COUNTS)
        state[f"{name}.{COUNTS}"] = counts[0] if counts else torch.tensor(0)
        if bias is not None:  # taken off again with the mean
            state[f"{name}.running_mean"] = state[f"{name}.running_mean"] - bias
        # another project's eps makes part of the variance
        state[f"{name}.running_var"] = state[f"{name}.running_var"] + (match.source.norm_eps - eps)
    return state


def _unfolded(name: str, bias: Tensor, eps: float) -> State:
    """Return a norm that only adds ``bias``: its variance and ``eps`` make 1."""
    return {
        f"{name}.weight": torch.ones_like(bias),
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": torch.ones_like(bias) - eps,
        f"{name}.{COUNTS}": torch.tensor(0),
    }


def _adapt(state: State, model: Backbone, notes: list[str]) -> None:
    """Fit the first convolution to the input's channels, and leave out a classifier of other classes."""
    wanted, leaves = model.state_dict(), layers_of(model)
    first = next(f"{name}.weight" for name, part in leaves if isinstance(part, nn.Conv2d))
    if first in state and state[first].shape[1] != wanted[first].shape[1]:
        state[first] = adapted(state[first], channels := wanted[first].shape[1])
        notes.append(f"the first convolution was adapted to {channels} channels")
    for name, part in leaves:
        if isinstance(part, nn.Linear) and state.get(f"{name}.weight", part.weight).shape[0] != part.out_features:
            notes.append(f"the classifier for {state[f'{name}.weight'].shape[0]} classes was left out")
            state.pop(f"{name}.weight")
            state.pop(f"{name}.bias", None)


def adapted(weight: Tensor, channels: int) -> Tensor:
    """Return a first convolution's weight for another number of input channels.

    One channel stands for all: their sum. More repeat the given ones, scaled so that the response stays as large.
    """
    given = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    times = -(-channels // given)
    return weight.repeat(1, times, 1, 1)[:, :channels] * (given / channels)
