"""Batch norm after a convolution is a convolution: ``g (W x + b - m) / s + h  =  (g / s) W x + (g (b - m) / s + h)``.

Only a norm that alone reads a convolution's output can be folded. A norm before its convolution (the first norm of a
DenseNet layer, on a concatenation) has an activation between the two and stays; the second follows a convolution and
goes.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_CONVOLUTIONS = (_aten.conv2d.default, _aten.conv2d.padding)
_NORM = _aten.batch_norm.default


def fold_norm(graph: GraphModule) -> tuple[GraphModule, int]:
    """Return a copy of the graph with every foldable batch norm folded, and their number."""
    result = copy.deepcopy(graph)
    folded = 0
    for norm in result.graph.find_nodes(op="call_function", target=_NORM):
        convolution = norm.args[0]
        if not _foldable(norm, convolution):
            continue
        weight, bias = _folded(result, norm, convolution)
        with result.graph.inserting_before(convolution):
            names = [f"folded_{folded}_{part}" for part in ("weight", "bias")]
            for name, tensor in zip(names, (weight, bias), strict=True):
                result.register_buffer(name, tensor)
            nodes = [result.graph.get_attr(name) for name in names]
        convolution.args = (convolution.args[0], *nodes, *convolution.args[3:])
        norm.replace_all_uses_with(convolution)
        result.graph.erase_node(norm)
        folded += 1
    result.graph.eliminate_dead_code()
    result.delete_all_unused_submodules()
    result.recompile()
    return result, folded


def _foldable(norm: Node, convolution: object) -> bool:
    if not (isinstance(convolution, Node) and convolution.target in _CONVOLUTIONS and len(convolution.users) == 1):
        return False
    _, weight, bias, mean, variance, training, *_ = norm.args
    constants = (convolution.args[1], *convolution.args[2:3], weight, bias, mean, variance)
    return not training and mean is not None and all(c is None or _is_constant(c) for c in constants)


def _is_constant(value: object) -> bool:
    return isinstance(value, Node) and value.op == "get_attr"


def _folded(graph: GraphModule, norm: Node, convolution: Node) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of the one convolution; computed in float64, in the weight's own type."""

    def tensor(value: object) -> Tensor | None:
        return _attribute(graph, value).detach().double() if isinstance(value, Node) else None

    weight, bias = tensor(convolution.args[1]), tensor(convolution.args[2] if len(convolution.args) > 2 else None)
    gain, shift, mean, variance = (tensor(value) for value in norm.args[1:5])
    epsilon = norm.args[7]
    assert weight is not None
    assert mean is not None
    assert variance is not None
    assert isinstance(epsilon, float)
    scale = (variance + epsilon).rsqrt() * (1.0 if gain is None else gain)
    shifted = (0.0 if bias is None else bias) - mean
    dtype = _attribute(graph, convolution.args[1]).dtype
    new_bias = shifted * scale + (0.0 if shift is None else shift)
    return (weight * scale.view(-1, 1, 1, 1)).to(dtype), new_bias.to(dtype)


def _attribute(graph: GraphModule, node: object) -> Tensor:
    assert isinstance(node, Node)
    assert isinstance(node.target, str)
    owner, _, name = node.target.rpartition(".")
    value = getattr(graph.get_submodule(owner), name)
    assert isinstance(value, Tensor)
    return value
