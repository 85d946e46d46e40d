"""Exact identities on a network's graph. One file a rule; a rule returns a new graph and says how often it applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch.fx import GraphModule

from featherbone.deploy.rewrites.fold_norm import fold_norm

Rule = Callable[[GraphModule], tuple[GraphModule, int]]

RULES: Mapping[str, Rule] = {"batch norm folded into the convolution before it": fold_norm}


def rewrite(graph: GraphModule) -> tuple[GraphModule, dict[str, int]]:
    """Apply every rule; return the new graph and how often each rule applied."""
    applied: dict[str, int] = {}
    for name, rule in RULES.items():
        graph, applied[name] = rule(graph)
    return graph, applied
