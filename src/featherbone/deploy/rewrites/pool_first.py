"""A 1x1 convolution and an average pool may change places: both are sums, one over channels, one over the image.

Pooled first, the convolution works on a quarter of the points, as after every DenseNet block (``norm - act - conv -
pool``). With a bias this holds where every window's weights add up to one, so not where a border of zeros is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import GraphModule

from featherbone.deploy.program import cleaned, convolution, copied

_aten = torch.ops.aten


def pool_first(graph: GraphModule) -> tuple[GraphModule, int]:
    """Return a graph that pools before its 1x1 convolutions, and how many changed places."""
    result = copied(graph)
    moved = 0
    for pool in result.graph.find_nodes(op="call_function", target=_aten.avg_pool2d.default):
        before = pool.args[0]
        layer = convolution(result, before)
        if layer is None or not layer.pointwise or len(before.users) > 1 or not _averages(*pool.args[1:]):
            continue
        pool.replace_all_uses_with(before)
        with result.graph.inserting_before(before):
            pooled = result.graph.call_function(pool.target, (before.args[0], *pool.args[1:]))
        before.args = (pooled, *before.args[1:])
        result.graph.erase_node(pool)
        moved += 1
    return (cleaned(result), moved) if moved else (graph, 0)


def _averages(
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> bool:
    """Return whether every output is a mean over real points, and there are fewer outputs than points."""
    whole = not any(padding) or not count_include_pad
    return max(stride or kernel) > 1 and whole and divisor_override is None
