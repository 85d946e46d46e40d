"""A convolution that is read in parts is several: ``([W; V] x)[part] = W x``.

The parts are written where they are read, without a copy, where an engine would copy every slice. The inverse of
:mod:`merge_parallel`: which of the two is faster is measured.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from featherbone.deploy.program import Convolution, call_convolution, call_like, cleaned, convolution, copied
from featherbone.deploy.rewrites.elementwise import ELEMENTWISE

_aten = torch.ops.aten

# the place of the argument that says which side is cut, and of those that it has: all of them are given
_CUTS: Mapping[object, int] = {
    _aten.split.Tensor: 2,
    _aten.split.sizes: 2,
    _aten.split_with_sizes.default: 2,
    _aten.chunk.default: 2,
    _aten.slice.Tensor: 1,
    _aten.narrow.default: 1,
}


def split_convolution(graph: GraphModule) -> tuple[GraphModule, int]:
    """Return a graph in which convolutions make the parts that are read, and the number of those that were whole."""
    result = copied(graph)
    changed = 0
    for node in list(result.graph.nodes):
        layer = convolution(result, node)
        if layer is None or layer.groups > 1:
            continue
        end = _end(node)
        parts = _parts(end, len(layer.weight))
        if not parts:
            continue
        for part, rows in parts.items():
            _write(result, node, end, part, _of(layer, rows))
        changed += 1
    return (cleaned(result), changed) if changed else (graph, 0)


def _end(layer: Node) -> Node:
    """Return the activation of a layer, or the layer if it has none."""
    reader = next(iter(layer.users), layer)
    return reader if len(layer.users) == 1 and reader.target in ELEMENTWISE else layer


def _parts(whole: Node, outputs: int) -> dict[Node, Tensor]:
    """Return the channels of the parts in which a node is read; nothing if it is read otherwise, or a channel twice."""
    numbers = torch.arange(outputs).view(1, -1, 1, 1)
    found: dict[Node, Tensor] = {}
    for cut in whole.users:
        place = _CUTS.get(cut.target)
        if place is None or len(cut.args) <= place or cut.args[0] is not whole or cut.args[place] not in (1, -3):
            return {}
        given: Any = cut.target(numbers, *cut.args[1:])  # type: ignore[operator]
        pieces = {cut: given} if isinstance(given, Tensor) else {user: given[user.args[1]] for user in cut.users}
        if not isinstance(given, Tensor) and any(user.target is not operator.getitem for user in pieces):
            return {}
        found |= {piece: rows.flatten() for piece, rows in pieces.items()}
    read = torch.cat(list(found.values())) if found else numbers.flatten()
    return found if len(torch.unique(read)) == len(read) else {}


def _of(layer: Convolution, rows: Tensor) -> Convolution:
    return replace(layer, weight=layer.weight[rows], bias=None if layer.bias is None else layer.bias[rows])


def _write(graph: GraphModule, node: Node, end: Node, part: Node, layer: Convolution) -> None:
    image = node.args[0]
    assert isinstance(image, Node)
    with graph.graph.inserting_before(node):
        new = call_convolution(graph, image, layer)
        if end is not node:
            new = call_like(graph, end, new)
    part.replace_all_uses_with(new)
