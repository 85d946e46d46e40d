"""Reading a network: what makes channels, and what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from featherbone.deploy.program import BATCH, Convolution, constant, convolution, shapes
from featherbone.deploy.rewrites.elementwise import ELEMENTWISE
from featherbone.deploy.rewrites.routes.lanes import Lanes, Numbers, moved

UseKind = Literal["all", "groups", "each", "in order", "gather", "as is"]
_aten = torch.ops.aten

# each output channel comes from one input channel; the places of the arguments that hold one number a channel
EACH: dict[object, tuple[int, ...]] = {
    _aten.batch_norm.default: (1, 2, 3, 4),
    **dict.fromkeys(
        (
            *ELEMENTWISE,
            _aten.max_pool2d.default,
            _aten.avg_pool2d.default,
            _aten.adaptive_avg_pool2d.default,
            _aten.adaptive_max_pool2d.default,
            _aten.upsample_nearest2d.default,
            _aten.upsample_nearest2d.vec,
        ),
        (),
    ),
}


@dataclass(eq=False)
class ChannelSource:
    """A tensor that some operation computes.

    Attributes:
        node: the operation.
        numbers: its channels, as they are numbered everywhere.
        tail: the image's sides.
        blocks: channels may change places within a block.
        origin: the channels it is computed from, one by one, if it is.
        hints: channels that some reader takes together.
        order: its live channels as they will lie in memory.
        cuts: where readers begin and end.
        parts: start and stop to node, once it is split.
    """

    node: Node
    numbers: Numbers
    tail: tuple[int, ...]
    blocks: Numbers
    origin: Numbers | None = None
    pinned: bool = False
    hints: list[Numbers] = field(default_factory=list)
    order: Numbers = field(default_factory=lambda: np.empty(0, np.int64))
    cuts: set[int] = field(default_factory=set)
    parts: dict[tuple[int, int], Node] = field(default_factory=dict)


@dataclass(eq=False)
class Use:
    """An operation that reads channels.

    Attributes:
        node: the operation.
        read: the argument.
        lanes: what it reads, in the order in which its weights expect it.
        kind: "all" sums over all inputs, "groups" over those of a group, "each" takes them one by one; "in order" wants
            them as they are numbered, "gather" too but they lie elsewhere; "as is" keeps the moving that it had.
        source: what it makes.
        groups: the number of groups.
        order: what it will read, as it lies in memory.
    """

    node: Node
    read: Node
    lanes: Lanes
    kind: UseKind
    source: ChannelSource | None
    groups: int = 1
    order: Numbers = field(default_factory=lambda: np.empty(0, np.int64))


def _once(numbers: Numbers) -> bool:
    return len(np.unique(numbers)) == len(numbers)


def _layer_kind(layer: Convolution, numbers: Numbers) -> tuple[UseKind, int]:
    if layer.groups == 1:
        return "all", 1
    if layer.depthwise and _once(numbers):
        return "each", 1
    # a channel that a group reads twice would make that group smaller than the others
    return ("groups", layer.groups) if all(map(_once, np.split(numbers, layer.groups))) else ("as is", 1)


def _over_the_image(dims: Any, lanes: Lanes) -> bool:
    return len(lanes.tail) == 2 and sorted(dim % 4 for dim in dims) == [2, 3]


@dataclass(frozen=True, eq=False)
class Routes:
    """A network as channels.

    Attributes:
        graph: the network; the operations below are in it.
        sources: what makes channels, in order.
        uses: what reads them, in order.
        values: what each node holds.
        maker: the use that makes a source.
        owner: for each channel, the place of its source in ``sources``.
        root: for each channel, the one that a layer made of which it is a copy after activations and pools.
    """

    graph: GraphModule
    sources: list[ChannelSource]
    uses: list[Use]
    values: Mapping[Node, Any]
    maker: Mapping[ChannelSource, Use]
    owner: Numbers
    root: Numbers

    def touched(self, numbers: Numbers) -> list[ChannelSource]:
        """Return the sources of some channels."""
        return [self.sources[index] for index in np.unique(self.owner[numbers])]


def read(graph: GraphModule) -> Routes:
    """Follow every channel of a network, in which only reads of the batch size are changed."""
    reader = _Reader(graph)
    for node in graph.graph.nodes:
        reader.read(node)
    sources, uses = reader.sources, reader.uses
    owner = np.repeat(np.arange(len(sources)), [len(source.numbers) for source in sources])
    root = np.arange(reader.total)
    for source in sources:
        if source.origin is not None:
            root[source.numbers] = root[source.origin]
    maker = {use.source: use for use in uses if use.source}
    return Routes(graph, sources, uses, reader.values, maker, owner, root)


class _Reader:
    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph
        self.shapes = shapes(graph)
        self.sources: list[ChannelSource] = []
        self.uses: list[Use] = []
        self.values: dict[Node, Any] = {}
        self.total = 0

    def read(self, node: Node) -> None:
        """Take in the next operation."""
        if node.op == "placeholder":
            self._add_source(node)
        if node.op not in ("call_function", "output"):
            return
        inputs = map_arg(list(node.args), lambda arg: self.values.get(arg, arg))
        read = [arg for arg in node.all_input_nodes if arg in self.values]
        if not read:
            return
        if node.target is _aten.sym_size.int:
            # every tensor has the images' batch size; the image itself is there in any case
            node.args = (next(iter(self.values)), *node.args[1:])
            return
        value = moved(node, inputs, self.shapes.get(node), lambda arg: constant(self.graph, arg))
        if value is not None:
            self.values[node] = value
            return
        kind, groups = self._kind(node, read)
        source = self._add_source(node) if node.op == "call_function" else None
        if source and kind == "each":
            source.origin = self.values[read[0]].numbers
            source.blocks = np.zeros_like(source.numbers)
        elif source and kind in ("all", "groups"):
            source.blocks = np.arange(len(source.numbers)) // (len(source.numbers) // groups)
        for arg in read:
            for lanes in self._tensors(self.values[arg]):
                self.uses.append(Use(node, arg, lanes, kind, source, groups))

    def _tensors(self, value: Any) -> list[Lanes]:
        return value if isinstance(value, list) else [value]

    def _add_source(self, node: Node) -> ChannelSource | None:
        shape = self.shapes[node]
        if not isinstance(shape, tuple) or len(shape) < 2 or shape[0] != BATCH:
            return None
        numbers = np.arange(self.total, self.total + shape[1])
        self.total += shape[1]
        source = ChannelSource(node, numbers, shape[2:], blocks=np.arange(shape[1]))
        self.sources.append(source)
        self.values[node] = Lanes(numbers, shape[2:])
        return source

    def _kind(self, node: Node, read: list[Node]) -> tuple[UseKind, int]:
        """Return how an operation reads, and its groups."""
        lanes = self.values[read[0]]
        if not self._follows(node, read, lanes):
            return "as is", 1
        layer = convolution(self.graph, node)
        if layer and len(lanes.tail) == 2:
            return _layer_kind(layer, lanes.numbers)
        if node.target is _aten.linear.default and not lanes.tail and constant(self.graph, node.args[1]) is not None:
            return "all", 1
        each = node.target in EACH or (node.target is _aten.mean.dim and _over_the_image(node.args[1], lanes))
        return "each" if each and _once(lanes.numbers) else "as is", 1

    def _follows(self, node: Node, read: list[Node], lanes: Any) -> bool:
        """Return whether an operation makes one map from one map and constants."""
        others = [arg for arg in node.all_input_nodes[1:] if constant(self.graph, arg) is None]
        shape = self.shapes.get(node)
        if len(read) > 1 or others or node.args[:1] != (read[0],) or not isinstance(lanes, Lanes) or not lanes.flat:
            return False
        return isinstance(shape, tuple) and shape[:1] == (BATCH,)
