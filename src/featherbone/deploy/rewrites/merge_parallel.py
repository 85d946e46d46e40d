"""Convolutions side by side are one with stacked filters: ``[W; V] x + [b; c] = [W x + b; V x + c]``.

The input is read once, and one wide layer uses a machine better than two narrow ones: the two 1x1 convolutions that
open a CSP stage, the two ways of PeleeNet. If all of them have the same activation, it too is done once, before the
split.
"""

from __future__ import annotations

import operator
from dataclasses import replace

import torch
from torch.fx import GraphModule, Node

from featherbone.deploy.program import Convolution, call_convolution, call_like, cleaned, convolution, copied
from featherbone.deploy.rewrites.elementwise import ELEMENTWISE

_aten = torch.ops.aten


def merge_parallel(graph: GraphModule) -> tuple[GraphModule, int]:
    """Return a graph in which convolutions that read the same are one, and the number of those that are gone."""
    result = copied(graph)
    merged = 0
    for node in list(result.graph.nodes):
        for together in _side_by_side(result, node):
            _merge(result, node, together)
            merged += len(together) - 1
    return (cleaned(result), merged) if merged else (graph, 0)


def _side_by_side(graph: GraphModule, node: Node) -> list[dict[Node, Convolution]]:
    """Return the convolutions that read a node and can be one."""
    found: dict[object, dict[Node, Convolution]] = {}
    for user in node.users:
        layer = convolution(graph, user)
        if layer and layer.groups == 1 and user.args[0] is node:
            found.setdefault(layer.shape, {})[user] = layer
    return [dict(sorted(same.items())) for same in found.values() if len(same) > 1]


def _merge(graph: GraphModule, image: Node, together: dict[Node, Convolution]) -> None:
    ends = _activated(list(together))
    with graph.graph.inserting_before(next(iter(together))):
        whole = call_convolution(graph, image, _stacked(list(together.values())))
        if ends[0] not in together:
            whole = call_like(graph, ends[0], whole)
        sizes = [len(layer.weight) for layer in together.values()]
        split = graph.graph.call_function(_aten.split_with_sizes.default, (whole, sizes, 1))
        parts = [graph.graph.call_function(operator.getitem, (split, index)) for index in range(len(sizes))]
    for end, part in zip(ends, parts, strict=True):
        end.replace_all_uses_with(part)


def _activated(layers: list[Node]) -> list[Node]:
    """Return the activations of the layers if all have the same and nothing else reads a layer; or the layers."""
    readers = [next(iter(layer.users), layer) for layer in layers]
    kinds = {(reader.target, *map(str, (reader.args[1:], reader.kwargs))) for reader in readers}
    alike = len(kinds) == 1 and readers[0].target in ELEMENTWISE
    return readers if alike and all(len(layer.users) == 1 for layer in layers) else layers


def _stacked(layers: list[Convolution]) -> Convolution:
    weight = torch.cat([layer.weight for layer in layers])
    if all(layer.bias is None for layer in layers):
        return replace(layers[0], weight=weight)
    biases = [layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers]
    return replace(layers[0], weight=weight, bias=torch.cat(biases))
