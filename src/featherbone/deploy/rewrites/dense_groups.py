"""A grouped convolution is a dense one whose weights between different groups are zero.

It computes more and may still be faster: engines run dense convolutions best, and the channels of a dense one may be
read and written in any order, so that a shuffle beside it goes into its weights. Which pays is measured, shape by
shape.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch.fx import GraphModule, Node

from featherbone.deploy.program import Convolution, call_convolution, cleaned, convolution, copied, shapes


class GroupedShape(NamedTuple):
    """What decides how fast a grouped convolution is: two of the same shape are of the same speed."""

    groups: int
    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    sides: tuple[int, ...]

    def __str__(self) -> str:
        kernel, sides = ("x".join(map(str, pair)) for pair in (self.kernel, self.sides))
        return f"{self.inputs} to {self.outputs} channels in {self.groups} groups, {kernel}, at {sides}"


def grouped_shapes(graph: GraphModule) -> Mapping[Node, GroupedShape]:
    """Return the grouped convolutions, depthwise ones left out."""
    sizes = shapes(graph)
    found = {}
    for node in graph.graph.nodes:
        layer = convolution(graph, node)
        if layer and layer.groups > 1 and not layer.depthwise:
            outputs, inputs, *kernel = layer.weight.shape
            found[node] = GroupedShape(
                layer.groups, inputs * layer.groups, outputs, tuple(kernel), layer.stride, sizes[node][2:]
            )
    return found


def dense_groups(graph: GraphModule, chosen: Collection[GroupedShape] | None = None) -> tuple[GraphModule, int]:
    """Return a graph with grouped convolutions made dense, and their number.

    Args:
        graph: the network.
        chosen: which shapes; default: all.
    """
    result = copied(graph)
    wanted = [node for node, shape in grouped_shapes(result).items() if chosen is None or shape in chosen]
    for node in wanted:
        layer = convolution(result, node)
        assert layer is not None
        with result.graph.inserting_before(node):
            dense = call_convolution(result, node.all_input_nodes[0], _dense(layer))
        node.replace_all_uses_with(dense)
        result.graph.erase_node(node)
    return (cleaned(result), len(wanted)) if wanted else (graph, 0)


def _dense(layer: Convolution) -> Convolution:
    parts = layer.weight.chunk(layer.groups)
    rows = [
        torch.nn.functional.pad(part.flatten(1), _zeros(part[0].numel(), index, layer.groups))
        for index, part in enumerate(parts)
    ]
    weight = torch.cat(rows).view(len(layer.weight), -1, *layer.weight.shape[2:])
    return replace(layer, weight=weight, groups=1)


def _zeros(size: int, index: int, groups: int) -> tuple[int, int]:
    """Return how many zeros come before and after a group's own weights."""
    return index * size, (groups - 1 - index) * size
