"""Which channel is where: operations that only move channels, followed as arithmetic on channel numbers.

Every channel that a layer computes has a number. A tensor between layers is an array of these numbers, and shuffles,
splits and concatenations only rearrange the array: reading a network this way, none of them has to be done.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from featherbone.deploy.program import BATCH

_aten = torch.ops.aten
Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Lanes(NamedTuple):
    """A tensor ``(B, *numbers.shape, *tail)``.

    Attributes:
        numbers: the channel at each place; usually one dimension, more between the two views of a shuffle.
        tail: the image's sides, or nothing after pooling.
    """

    numbers: Numbers
    tail: tuple[int, ...]

    @property
    def flat(self) -> bool:
        """Whether this is an ordinary feature map or vector."""
        return self.numbers.ndim == 1


Moved = Lanes | list[Lanes]


def moved(node: Node, inputs: list[Any], shape: Any, constants: Callable[[object], Tensor | None]) -> Moved | None:
    """Return what an operation that only moves channels gives; ``None`` if it does more, or moves other things.

    Args:
        node: the operation.
        inputs: its arguments, with :class:`Lanes` for tensors.
        shape: of its output, or a list of shapes.
        constants: returns the tensor that a node reads from the module.
    """
    if node.target is operator.getitem:
        whole, index = inputs
        return whole[index] if isinstance(whole, list) else None
    rule = _RULES.get(node.target)
    return rule(inputs, shape, constants) if rule else None


def _reshaped(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    lanes = inputs[0]
    if not isinstance(lanes, Lanes) or not shape or shape[0] != BATCH:
        return None
    numbers, tail = lanes
    sides = len(tail)
    inner = shape[1 : len(shape) - sides]
    if shape[len(shape) - sides :] == tail and math.prod(inner) == numbers.size:
        return Lanes(numbers.reshape(inner), tail)
    if math.prod(tail) == 1 and math.prod(shape[1:]) == numbers.size:
        # one point an image: the same with and without its sides
        return Lanes(numbers.reshape(-1), (1, 1)) if shape[2:] == (1, 1) else Lanes(numbers.reshape(shape[1:]), ())
    return None


def _permuted(lanes: Any, order: list[int]) -> Lanes | None:
    if not isinstance(lanes, Lanes):
        return None
    inner = lanes.numbers.ndim + 1
    if order[0] != 0 or order[inner:] != list(range(inner, len(order))):
        return None
    return Lanes(lanes.numbers.transpose([place - 1 for place in order[1:inner]]), lanes.tail)


def _transpose(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    order = list(range(len(shape)))
    first, second = inputs[1:3]
    order[first], order[second] = order[second], order[first]
    return _permuted(inputs[0], order)


def _permute(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    return _permuted(inputs[0], [place % len(shape) for place in inputs[1]])


def _axis(lanes: Any, dim: int) -> int | None:
    """Return the axis of the numbers that a tensor's dimension is."""
    if not isinstance(lanes, Lanes):
        return None
    axis = dim % (1 + lanes.numbers.ndim + len(lanes.tail)) - 1
    return axis if 0 <= axis < lanes.numbers.ndim else None


def _split(inputs: list[Any], shape: Any, _: object) -> list[Lanes] | None:
    lanes, dim = inputs[0], inputs[2] if len(inputs) > 2 else 0
    axis = _axis(lanes, dim)
    if axis is None:
        return None
    ends = np.cumsum([part[axis + 1] for part in shape])[:-1]
    return [Lanes(part, lanes.tail) for part in np.split(lanes.numbers, ends, axis)]


def _slice(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    defaults: list[Any] = [None, 0, None, None, 1]
    lanes, dim, start, end, step = inputs + defaults[len(inputs) :]
    if start in (0, None) and end in (None, sys.maxsize) and step == 1:
        return _reshaped(inputs, shape, _)  # all of it, as the first side of x[:, 1:]
    axis = _axis(lanes, dim)
    if axis is None:
        return None
    return Lanes(lanes.numbers[(slice(None),) * axis + (slice(start, end, step),)], lanes.tail)


def _narrow(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    lanes, dim, start, length = inputs
    return _slice([lanes, dim, start, start + length], shape, _) if start >= 0 else None


def _select(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    lanes, dim, index = inputs
    axis = _axis(lanes, dim)
    if axis is None or lanes.numbers.ndim < 2:
        return None
    return Lanes(lanes.numbers.take(index, axis), lanes.tail)


def _index_select(inputs: list[Any], shape: Any, constants: Callable[[object], Tensor | None]) -> Lanes | None:
    lanes, dim, index = inputs
    axis, chosen = _axis(lanes, dim), constants(index)
    if axis is None or chosen is None or chosen.dim() != 1:
        return None
    return Lanes(lanes.numbers.take(chosen.numpy(), axis), lanes.tail)


def _indexed(inputs: list[Any], shape: Any, constants: Callable[[object], Tensor | None]) -> Lanes | None:
    lanes, (batch, *channels) = inputs
    if batch is not None or len(channels) != 1 or not isinstance(lanes, Lanes) or lanes.numbers.ndim < 1:
        return None
    chosen = constants(channels[0])
    if chosen is None or chosen.dtype != torch.int64 or chosen.dim() != 1:
        return None
    return Lanes(lanes.numbers[chosen.numpy()], lanes.tail)


def _unbound(inputs: list[Any], shape: Any, _: object) -> list[Lanes] | None:
    lanes, dim = inputs[0], inputs[1] if len(inputs) > 1 else 0
    axis = _axis(lanes, dim)
    if axis is None:
        return None
    return [Lanes(lanes.numbers.take(place, axis), lanes.tail) for place in range(len(shape))]


def _concatenated(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    parts, dim = inputs[0], inputs[1] if len(inputs) > 1 else 0
    axes = {_axis(part, dim) for part in parts}
    if None in axes or len(axes) > 1 or len({part.tail for part in parts}) > 1:
        return None
    return Lanes(np.concatenate([part.numbers for part in parts], axes.pop()), parts[0].tail)


def _stacked(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    parts, dim = inputs[0], (inputs[1] if len(inputs) > 1 else 0) % len(shape)
    if not all(isinstance(part, Lanes) for part in parts) or len({part.tail for part in parts}) > 1:
        return None
    if not 1 <= dim <= parts[0].numbers.ndim + 1:
        return None
    return Lanes(np.stack([part.numbers for part in parts], dim - 1), parts[0].tail)


def _shuffled(inputs: list[Any], shape: Any, _: object) -> Lanes | None:
    lanes, groups = inputs
    if not isinstance(lanes, Lanes) or not lanes.flat:
        return None
    return Lanes(lanes.numbers.reshape(groups, -1).T.reshape(-1), lanes.tail)


_RULES: Mapping[object, Callable[[list[Any], Any, Callable[[object], Tensor | None]], Moved | None]] = {
    # nothing moves, or dimensions get other names
    _aten.view.default: _reshaped,
    _aten.reshape.default: _reshaped,
    _aten._unsafe_view.default: _reshaped,
    _aten.flatten.using_ints: _reshaped,
    _aten.unflatten.int: _reshaped,
    _aten.squeeze.default: _reshaped,
    _aten.squeeze.dim: _reshaped,
    _aten.squeeze.dims: _reshaped,
    _aten.unsqueeze.default: _reshaped,
    _aten.contiguous.default: _reshaped,
    _aten.clone.default: _reshaped,
    _aten.alias.default: _reshaped,
    _aten.detach.default: _reshaped,
    _aten.dropout.default: lambda inputs, shape, _: None if inputs[2] else _reshaped(inputs, shape, _),
    # channels change places
    _aten.transpose.int: _transpose,
    _aten.permute.default: _permute,
    _aten.channel_shuffle.default: _shuffled,
    # parts and wholes
    _aten.chunk.default: _split,
    _aten.split.Tensor: _split,
    _aten.split.sizes: _split,
    _aten.split_with_sizes.default: _split,
    _aten.slice.Tensor: _slice,
    _aten.narrow.default: _narrow,
    _aten.select.int: _select,
    _aten.index_select.default: _index_select,
    _aten.index.Tensor: _indexed,
    _aten.unbind.int: _unbound,
    _aten.cat.default: _concatenated,
    _aten.stack.default: _stacked,
}
