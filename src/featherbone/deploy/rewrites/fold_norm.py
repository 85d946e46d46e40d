"""Batch norm beside a convolution is a convolution, for in evaluation it multiplies and adds per channel: ``s x + t``.

After it (PyTorch's usual order, and the second norm of a DenseNet layer): ``s (W x + b) + t = (s W) x + (s b + t)``.
Before it, with nothing in between: ``W (s x + t) + b = (W s) x + (W t + b)``, where no border is padded, since the
padding's zeros come after the norm. A fully connected layer is a convolution here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from featherbone.deploy.program import add_constant, cleaned, constant, copied

_aten = torch.ops.aten
_CONVOLUTIONS = (_aten.conv2d.default, _aten.conv2d.padding)
_NORM = _aten.batch_norm.default


class _Affine(NamedTuple):
    scale: Tensor
    shift: Tensor


def fold_norm(graph: GraphModule) -> tuple[GraphModule, int]:
    """Return a graph without the batch norms that can be folded, and their number."""
    result = copied(graph)
    folded = 0
    for norm in result.graph.find_nodes(op="call_function", target=_NORM):
        affine = _affine(result, norm)
        if affine is None:
            continue
        before, after = norm.args[0], list(norm.users)
        if _has_constants(result, before) and _by_channel(norm, before) and len(before.users) == 1:
            _replace(result, before, *_followed(result, before, affine))
        elif after and all(_has_constants(result, user, before=norm) and _by_channel(norm, user) for user in after):
            for user in after:
                _replace(result, user, *_preceded(result, user, affine))
        else:
            continue
        norm.replace_all_uses_with(before)
        result.graph.erase_node(norm)
        folded += 1
    return (cleaned(result), folded) if folded else (graph, 0)


def _affine(graph: GraphModule, norm: Node) -> _Affine | None:
    """Return what the norm multiplies by and adds, in float64; ``None`` if it takes the images' own statistics."""
    gain, bias, mean, variance = (constant(graph, value) for value in norm.args[1:5])
    epsilon = norm.args[7]
    if norm.args[5] or norm.kwargs or mean is None or variance is None or not isinstance(epsilon, float):
        return None
    scale = (variance.double() + epsilon).rsqrt() * (1.0 if gain is None else gain.double())
    return _Affine(scale, (0.0 if bias is None else bias.double()) - mean.double() * scale)


def _has_constants(graph: GraphModule, node: object, before: Node | None = None) -> bool:
    """Return whether a node is a convolution with constant weights; one that reads ``before`` must not pad it."""
    if not isinstance(node, Node) or node.target not in (*_CONVOLUTIONS, _aten.linear.default):
        return False
    if constant(graph, node.args[1]) is None:
        return False
    if len(node.args) > 2 and node.args[2] is not None and constant(graph, node.args[2]) is None:
        return False
    if before is None or node.target is _aten.linear.default:
        return True
    padding = node.args[4] if len(node.args) > 4 else 0
    return node.args[0] is before and padding in (0, [0], [0, 0], "valid")


def _by_channel(norm: Node, layer: Node) -> bool:
    """Return whether both work on the same side: a linear layer on the last, a norm on the second."""
    return layer.target is not _aten.linear.default or norm.meta["val"].dim() == 2


def _parameters(graph: GraphModule, node: Node) -> tuple[Tensor, Tensor]:
    weight = constant(graph, node.args[1])
    assert weight is not None
    bias = constant(graph, node.args[2]) if len(node.args) > 2 else None
    return weight.double(), torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.double()


def _followed(graph: GraphModule, node: Node, norm: _Affine) -> tuple[Tensor, Tensor]:
    weight, bias = _parameters(graph, node)
    outputs = (-1, *[1] * (weight.dim() - 1))
    return weight * norm.scale.view(outputs), norm.scale * bias + norm.shift


def _preceded(graph: GraphModule, node: Node, norm: _Affine) -> tuple[Tensor, Tensor]:
    weight, bias = _parameters(graph, node)
    groups = len(norm.scale) // weight.shape[1]
    # the inputs that each output reads: those of its group
    shape = (groups, 1, weight.shape[1], *[1] * (weight.dim() - 2))
    scale, shift = norm.scale.view(shape), norm.shift.view(shape)
    grouped = weight.view(groups, -1, *weight.shape[1:])
    return (grouped * scale).flatten(0, 1), bias + (grouped * shift).flatten(0, 1).flatten(1).sum(1)


def _replace(graph: GraphModule, node: Node, weight: Tensor, bias: Tensor) -> None:
    present = constant(graph, node.args[1])
    assert present is not None
    with graph.graph.inserting_before(node):
        constants = [add_constant(graph, tensor.to(present.dtype)) for tensor in (weight, bias)]
    node.args = (node.args[0], *constants, *node.args[3:])
