"""Exact identities on a network's graph. One file a rule; a rule returns a new graph and says how often it applied.

``RULES`` pay always. The others trade one cost for another: a caller measures which of them pay, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch.fx import GraphModule

from featherbone.deploy.rewrites.concat_free import concat_free as concat_free
from featherbone.deploy.rewrites.fold_norm import fold_norm
from featherbone.deploy.rewrites.identities import identities
from featherbone.deploy.rewrites.merge_parallel import merge_parallel as merge_parallel
from featherbone.deploy.rewrites.pool_first import pool_first
from featherbone.deploy.rewrites.routes import route_channels
from featherbone.deploy.rewrites.split_convolution import split_convolution as split_convolution

Rule = Callable[[GraphModule], tuple[GraphModule, int]]

RULES: Mapping[str, Rule] = {
    "what changes nothing left out": identities,
    "batch norm folded into a convolution": fold_norm,
    "average pool before a 1x1 convolution": pool_first,
    "channels moved by weights": route_channels,
}
OPTIONAL: Mapping[str, Rule] = {
    "parallel convolutions merged": merge_parallel,
    "convolutions split where they are read in parts": split_convolution,
    "concatenations summed": concat_free,
}


def rewrite(graph: GraphModule) -> tuple[GraphModule, dict[str, int]]:
    """Apply every rule; return the new graph and how often each rule applied."""
    applied: dict[str, int] = {}
    for name, rule in RULES.items():
        graph, applied[name] = rule(graph)
    return graph, applied
