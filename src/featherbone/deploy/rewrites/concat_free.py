"""A convolution of a concatenation is a sum of convolutions: ``W [x; y] + b = V x + (U y + b)`` with ``W = [V, U]``.

Nothing is copied together. In exchange the outputs are read and written once more for every part after the first, so
that this pays where there are few parts and few outputs; which is measured.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.fx import GraphModule, Node

from featherbone.deploy.program import Convolution, call_convolution, cleaned, convolution, copied, shapes

_aten = torch.ops.aten


def concat_free(graph: GraphModule, at_most: int = 4) -> tuple[GraphModule, int]:
    """Return a graph without the concatenations that only one convolution reads, and their number.

    Args:
        graph: the network.
        at_most: longer concatenations stay: a sum of many parts costs more than a copy.
    """
    result = copied(graph)
    sizes = shapes(result)
    gone = 0
    for node in list(result.graph.nodes):
        layer, parts = convolution(result, node), _parts(node)
        if layer is None or layer.groups > 1 or not 2 <= len(parts) <= at_most:
            continue
        _write(result, node, layer, parts, [sizes[part][1] for part in parts])
        gone += 1
    return (cleaned(result), gone) if gone else (graph, 0)


def _parts(layer: Node) -> list[Node]:
    """Return what is concatenated for this layer alone."""
    whole = layer.args[0] if layer.args else None
    if not isinstance(whole, Node) or whole.target is not _aten.cat.default or len(whole.users) > 1:
        return []
    parts, *dim = whole.args
    assert isinstance(parts, list | tuple)
    return [part for part in parts if isinstance(part, Node)] if dim in ([1], [-3]) else []


def _write(graph: GraphModule, node: Node, layer: Convolution, parts: list[Node], widths: list[int]) -> None:
    weights = torch.split(layer.weight, widths, 1)
    with graph.graph.inserting_before(node):
        total = call_convolution(graph, parts[0], replace(layer, weight=weights[0]))
        for part, weight in zip(parts[1:], weights[1:], strict=True):
            term = call_convolution(graph, part, replace(layer, weight=weight, bias=None))
            total = graph.graph.call_function(_aten.add.Tensor, (total, term))
    node.replace_all_uses_with(total)
    graph.graph.erase_node(node)
