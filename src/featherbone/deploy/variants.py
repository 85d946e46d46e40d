"""The equal forms of a network: rewrites that always pay, and those that pay on some machines."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

from torch.fx import GraphModule

from featherbone.deploy.rewrites import OPTIONAL, rewrite
from featherbone.deploy.rewrites.dense_groups import GroupedShape, dense_groups, grouped_shapes
from featherbone.deploy.rewrites.routes import route_channels


@dataclass(frozen=True)
class Variant:
    """One of the equal forms of a network.

    Attributes:
        rewritten: whether the rules that always hold are applied; without them it is the network as it was given.
        optional: names of further rules, in this order.
        dense: names of the shapes of grouped convolutions that are made dense.
    """

    rewritten: bool = True
    optional: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()

    def of(self, graph: GraphModule) -> tuple[GraphModule, dict[str, int]]:
        """Return this form of a network, and how often each rule applied."""
        if not self.rewritten:
            return graph, {}
        result, applied = rewrite(graph)
        for name in self.optional:
            result, applied[name] = OPTIONAL[name](result)
        if self.dense:
            chosen = {shape for shape in grouped_shapes(result).values() if str(shape) in self.dense}
            result, applied["grouped convolution made dense"] = dense_groups(result, chosen)
        if self.optional or self.dense:
            result, _ = route_channels(result)
        return result, applied

    def __str__(self) -> str:
        dense = [f"{len(self.dense)} shapes of grouped convolutions dense"] if self.dense else []
        return ", ".join(["rewritten", *self.optional, *dense]) if self.rewritten else "as given"


PLAIN = Variant(rewritten=False)


def further(variant: Variant, graph: GraphModule) -> Generator[Variant, bool, None]:
    """Yield forms one step further, each only if its rule has anything to do.

    Send ``True`` back if the last one was faster: the next ones then go on from it.
    """
    for name, rule in OPTIONAL.items():
        if rule(variant.of(graph)[0])[1]:
            candidate = replace(variant, optional=(*variant.optional, name))
            variant = candidate if (yield candidate) else variant
    shapes = sorted(set(grouped_shapes(variant.of(graph)[0]).values()))
    for kind in _kinds(shapes).values():
        candidate = replace(variant, dense=(*variant.dense, *map(str, kind)))
        if not (yield candidate):
            continue
        variant = candidate
        for shape in kind if len(kind) > 1 else ():
            candidate = replace(variant, dense=tuple(name for name in variant.dense if name != str(shape)))
            variant = candidate if (yield candidate) else variant


def _kinds(shapes: list[GroupedShape]) -> Mapping[str, list[GroupedShape]]:
    """Return grouped convolutions that are alike in what a dense form costs and saves."""
    kinds = {
        "expanding": [shape for shape in shapes if shape.outputs > shape.inputs],
        "reducing": [shape for shape in shapes if shape.outputs < shape.inputs],
        "keeping": [shape for shape in shapes if shape.outputs == shape.inputs],
    }
    return {name: kind for name, kind in kinds.items() if kind}
