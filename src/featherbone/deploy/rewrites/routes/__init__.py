"""Shuffles, splits and concatenations go into the weights; what nobody reads is not computed.

A 1x1 convolution sums over its input channels, so their order is free, and so is the order of its outputs. Every
channel is followed from the layer that makes it to the layers that read it (:mod:`lanes`, :mod:`reader`). Then a
layer's outputs are put in the order in which they will be read (:mod:`plan`), so that what is read together lies
together, its readers' weights follow, and the moving itself is left out (:mod:`writer`): nothing is ever shuffled, and
only what one layer reads from several is concatenated. ShuffleNet V2's kept half becomes a list of slices that waits
for its reader.

Where the order matters (outputs, sums of two branches, operations that are not known here) it stays, or is made once.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from featherbone.deploy.program import copied
from featherbone.deploy.rewrites.routes.plan import Plan
from featherbone.deploy.rewrites.routes.reader import read
from featherbone.deploy.rewrites.routes.writer import Writer

_aten = torch.ops.aten
_MOVES = frozenset(
    (
        _aten.cat.default,
        _aten.stack.default,
        _aten.chunk.default,
        _aten.split.Tensor,
        _aten.split.sizes,
        _aten.split_with_sizes.default,
        _aten.slice.Tensor,
        _aten.narrow.default,
        _aten.transpose.int,
        _aten.permute.default,
        _aten.channel_shuffle.default,
        _aten.index_select.default,
        _aten.index.Tensor,
        _aten.unbind.int,
    )
)


def route_channels(graph: GraphModule) -> tuple[GraphModule, int]:
    """Return a graph that moves channels less, and the number of operations and dead layers' parts it is without."""
    routes = read(copied(graph))
    plan = Plan(routes)
    result = Writer(routes, plan).written()
    saved = _movements(graph) - _movements(result)
    return (result, saved + plan.dead) if saved > 0 or plan.dead else (graph, 0)


def _movements(graph: GraphModule) -> int:
    return sum(node.target in _MOVES for node in graph.graph.nodes)
