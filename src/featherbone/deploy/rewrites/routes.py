"""Shuffles, splits and concatenations go into the weights; what nobody reads is not computed.

A 1x1 convolution sums over its input channels, so their order is free, and so is the order of its outputs. Every
channel is followed from the layer that makes it to the layers that read it (:mod:`lanes`). Then a layer's outputs are
put in the order in which they will be read, so that what is read together lies together, its readers' weights follow,
and the moving itself is left out: nothing is ever shuffled, and only what one layer reads from several is
concatenated. ShuffleNet V2's kept half becomes a list of slices that waits for its reader.

Where the order matters (outputs, sums of two branches, operations that are not known here) it stays, or is made once.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from featherbone.deploy.program import BATCH, Convolution, add_constant, cleaned, constant, convolution, copied, shapes
from featherbone.deploy.rewrites.elementwise import ELEMENTWISE
from featherbone.deploy.rewrites.lanes import Lanes, Numbers, moved

_aten = torch.ops.aten

# each output channel comes from one input channel; the places of the arguments that hold one number a channel
_EACH: dict[object, tuple[int, ...]] = {
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


@dataclass(eq=False)
class _Source:
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
class _Use:
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
    kind: str
    source: _Source | None
    groups: int = 1
    order: Numbers = field(default_factory=lambda: np.empty(0, np.int64))


def route_channels(graph: GraphModule) -> tuple[GraphModule, int]:
    """Return a graph that moves channels less, and the number of operations and dead layers' parts it is without."""
    routes = _Routes(copied(graph))
    before = _movements(graph)
    dead = routes.plan()
    result = routes.written()
    saved = before - _movements(result)
    return (result, saved + dead) if saved > 0 or dead else (graph, 0)


def _movements(graph: GraphModule) -> int:
    return sum(node.target in _MOVES for node in graph.graph.nodes)


def _once(numbers: Numbers) -> bool:
    return len(np.unique(numbers)) == len(numbers)


def _layer_kind(layer: Convolution, numbers: Numbers) -> tuple[str, int]:
    if layer.groups == 1:
        return "all", 1
    if layer.depthwise and _once(numbers):
        return "each", 1
    # a channel that a group reads twice would make that group smaller than the others
    return ("groups", layer.groups) if all(map(_once, np.split(numbers, layer.groups))) else ("as is", 1)


def _over_the_image(dims: Any, lanes: Lanes) -> bool:
    return len(lanes.tail) == 2 and sorted(dim % 4 for dim in dims) == [2, 3]


class _Routes:
    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph
        self.shapes = shapes(graph)
        self.sources: list[_Source] = []
        self.uses: list[_Use] = []
        self.values: dict[Node, Any] = {}
        self.total = 0
        self.joined: dict[tuple[bytes, tuple[int, ...]], Node] = {}
        for node in graph.graph.nodes:
            self._read(node)
        self.maker = {use.source: use for use in self.uses if use.source}
        self.live = np.zeros(self.total, bool)
        self.owner = np.repeat(np.arange(len(self.sources)), [len(source.numbers) for source in self.sources])
        self.rank = np.zeros(self.total, np.int64)
        # the channel that a layer made, of which this one is a copy after activations and pools
        self.root = np.arange(self.total)
        for source in self.sources:
            if source.origin is not None:
                self.root[source.numbers] = self.root[source.origin]

    # reading ---------------------------------------------------------------------------------------------------------

    def _read(self, node: Node) -> None:
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
                self.uses.append(_Use(node, arg, lanes, kind, source, groups))

    def _tensors(self, value: Any) -> list[Lanes]:
        return value if isinstance(value, list) else [value]

    def _add_source(self, node: Node) -> _Source | None:
        shape = self.shapes[node]
        if not isinstance(shape, tuple) or len(shape) < 2 or shape[0] != BATCH:
            return None
        numbers = np.arange(self.total, self.total + shape[1])
        self.total += shape[1]
        source = _Source(node, numbers, shape[2:], blocks=np.arange(shape[1]))
        self.sources.append(source)
        self.values[node] = Lanes(numbers, shape[2:])
        return source

    def _kind(self, node: Node, read: list[Node]) -> tuple[str, int]:
        """Return how an operation reads, and its groups."""
        lanes = self.values[read[0]]
        if not self._follows(node, read, lanes):
            return "as is", 1
        layer = convolution(self.graph, node)
        if layer and len(lanes.tail) == 2:
            return _layer_kind(layer, lanes.numbers)
        if node.target is _aten.linear.default and not lanes.tail and constant(self.graph, node.args[1]) is not None:
            return "all", 1
        each = node.target in _EACH or (node.target is _aten.mean.dim and _over_the_image(node.args[1], lanes))
        return "each" if each and _once(lanes.numbers) else "as is", 1

    def _follows(self, node: Node, read: list[Node], lanes: Any) -> bool:
        """Return whether an operation makes one map from one map and constants."""
        others = [arg for arg in node.all_input_nodes[1:] if constant(self.graph, arg) is None]
        shape = self.shapes.get(node)
        if len(read) > 1 or others or node.args[:1] != (read[0],) or not isinstance(lanes, Lanes) or not lanes.flat:
            return False
        return isinstance(shape, tuple) and shape[:1] == (BATCH,)

    # deciding --------------------------------------------------------------------------------------------------------

    def plan(self) -> int:
        """Decide where every channel lies; return in how many layers some channels are dead."""
        self._keep_orders()
        self._find_live()
        for use in self.uses:
            for together in self._needed(use):
                self._hint(together)
        for index, source in enumerate(self.sources):
            source.order = self._order(source)
            self.rank[source.order] = (index << 32) + np.arange(len(source.order))
        self._find_cuts()
        made = [source for source in self.sources if source.origin is None]
        return sum(0 < len(source.order) < len(source.numbers) for source in made)

    def _keep_orders(self) -> None:
        """Find the operations that need their channels in order, and pin what they read."""
        for use in self.uses:
            if use.kind == "groups" and self._between_groups(use.lanes.numbers):
                use.kind = "as is"  # a shuffle between two grouped layers moves channels whatever their order
                self._pin(use.lanes.numbers)
            elif use.kind == "as is":
                if self._interleaved(use.lanes.numbers.reshape(-1)):
                    use.kind = "gather"
                else:
                    use.kind = "in order" if use.lanes.flat and not isinstance(self.values[use.read], list) else "as is"
                    self._pin(use.lanes.numbers.reshape(-1))

    def _find_live(self) -> None:
        for source in self.sources:
            # what is not written anew gives all its channels, in their order
            if source not in self.maker or self.maker[source].kind not in ("all", "groups", "each"):
                self._pin(source.numbers)
        for source in self.sources:
            if source.pinned or source.node.op == "placeholder":
                self.live[source.numbers] = True
        for use in reversed(self.uses):
            self._spread_life(use)

    def _find_cuts(self) -> None:
        """Write down what every operation will read, and where that begins and ends in memory."""
        for use in self.uses:
            if use.kind != "as is":
                parts = self._needed(use)
                use.order = parts[0] if use.kind == "in order" else np.concatenate(list(map(self._in_memory, parts)))
                for source, start, stop in self._runs(use.order):
                    if (start, stop) != (0, len(source.order)):
                        source.cuts |= {start, stop}

    def _touched(self, numbers: Numbers) -> list[_Source]:
        return [self.sources[index] for index in np.unique(self.owner[numbers])]

    def _interleaved(self, numbers: Numbers) -> bool:
        """Return whether channels of several places alternate."""
        made = self.root[numbers]
        return 1 + int((np.diff(made) != 1).sum()) > 2 * len(self._touched(made))

    def _between_groups(self, numbers: Numbers) -> bool:
        """Return whether a grouped layer reads, in another order, what a grouped layer makes."""
        made = self.root[numbers]
        return self._interleaved(numbers) and any(source.blocks.any() for source in self._touched(made))

    def _pin(self, numbers: Numbers) -> None:
        for source in self._touched(numbers):
            if not source.pinned:
                source.pinned = True
                if source.origin is not None:
                    self.maker[source].kind = "as is"
                    self._pin(source.origin)

    def _spread_life(self, use: _Use) -> None:
        """Mark what an operation reads, if anybody reads what it makes."""
        if use.source is None or use.kind in ("as is", "in order", "gather"):
            self.live[use.lanes.numbers] = True
            return
        alive = self.live[use.source.numbers]
        if use.kind == "each":
            self.live[use.lanes.numbers[alive]] = True
        elif alive.any() and use.kind == "groups":
            self.live[use.source.numbers] = True
            self.live[use.lanes.numbers] = True
        elif alive.any():
            self.live[self._needed(use)[0]] = True

    def _needed(self, use: _Use) -> list[Numbers]:
        """Return the channels an operation must be given; those of a group together."""
        numbers = use.lanes.numbers.reshape(-1)
        if use.kind == "as is":
            return []
        if use.kind in ("in order", "gather") or use.source is None:
            return [numbers]
        alive = self.live[use.source.numbers]
        if use.kind == "each":
            return [numbers[alive]]
        if use.kind == "groups":
            return np.split(numbers, use.groups) if alive.any() else []
        weight = constant(self.graph, use.node.args[1])
        assert weight is not None
        read = (weight[torch.from_numpy(alive)] != 0).transpose(0, 1).flatten(1).any(1).numpy()
        if alive.any() and not read.any():
            read[0] = True  # a layer of zeros and a bias still needs an input
        return [numbers[read]]

    def _hint(self, together: Numbers) -> None:
        for source in self._touched(together):
            mine = together[np.isin(together, source.numbers)]
            if source.pinned or self.live[source.numbers].sum() == len(np.unique(mine)):
                continue
            source.hints.append(mine)
            if source.origin is not None:
                self._hint(source.origin[mine - source.numbers[0]])

    def _order(self, source: _Source) -> Numbers:
        if source.pinned:
            return source.numbers
        alive = source.numbers[self.live[source.numbers]]
        if source.origin is not None:
            origin = source.origin[alive - source.numbers[0]]
            return alive[np.argsort(self.rank[origin])]
        blocks = source.blocks[alive - source.numbers[0]]
        first = [~np.isin(alive, hint) for hint in source.hints]
        return alive[np.lexsort([np.arange(len(alive)), *reversed(first), blocks])]

    def _in_memory(self, numbers: Numbers) -> Numbers:
        found = np.unique(numbers)
        return found[np.argsort(self.rank[found])]

    def _runs(self, order: Numbers) -> list[tuple[_Source, int, int]]:
        """Return the stretches of memory that hold these channels in this order: source, start, stop."""
        if not len(order):
            return []
        ranks = self.rank[order]
        ends: list[int] = [*(np.flatnonzero(np.diff(ranks) != 1) + 1).tolist(), len(order)]
        starts = [0, *ends[:-1]]
        first: list[int] = (ranks[starts] & 0xFFFFFFFF).tolist()
        return [
            (self.sources[self.owner[order[start]]], at, at + stop - start)
            for start, stop, at in zip(starts, ends, first, strict=True)
        ]

    # writing ---------------------------------------------------------------------------------------------------------

    def written(self) -> GraphModule:
        """Return the graph that works as planned."""
        for use in self.uses:
            if use.kind == "as is" or (use.source and not len(use.source.order)):
                continue
            with self.graph.graph.inserting_before(use.node):
                image = self._tensor(use.order, use.lanes.tail)
                if use.kind == "gather":
                    self._replace_gathered(use, image)
                    continue
                use.node.replace_input_with(use.read, image)
                if use.kind == "in order":
                    continue
                if use.source and use.source.pinned and np.array_equal(use.order, use.lanes.numbers):
                    continue
                {"all": self._write_all, "groups": self._write_groups, "each": self._write_each}[use.kind](use)
        return cleaned(self.graph)

    def _tensor(self, order: Numbers, tail: tuple[int, ...]) -> Node:
        """Return the node that holds these channels in this order, at the insertion point."""
        key = (order.tobytes(), tail)
        if key not in self.joined:
            pieces = [self._viewed(piece, source.tail, tail) for source, piece in self._pieces(order)]
            whole = pieces[0]
            if len(pieces) > 1:
                whole = self.graph.graph.call_function(_aten.cat.default, (pieces, 1))
            self.joined[key] = whole
        return self.joined[key]

    def _viewed(self, piece: Node, present: tuple[int, ...], tail: tuple[int, ...]) -> Node:
        if present == tail:
            return piece
        # one point an image, with or without its sides
        name = _aten.flatten.using_ints
        if not tail:
            return self.graph.graph.call_function(name, (piece, 1))
        return self.graph.graph.call_function(_aten.unflatten.int, (piece, 1, [-1, *tail]))

    def _pieces(self, order: Numbers) -> list[tuple[_Source, Node]]:
        found: list[tuple[_Source, Node]] = []
        for source, start, stop in self._runs(order):
            if (start, stop) == (0, len(source.order)):
                found.append((source, source.node))
                continue
            if not source.parts:
                self._split(source)
            found += [(source, node) for (a, b), node in source.parts.items() if start <= a and b <= stop]
        return found

    def _split(self, source: _Source) -> None:
        ends = sorted(source.cuts | {0, len(source.order)})
        parts = list(pairwise(ends))
        graph = self.graph.graph
        with graph.inserting_after(source.node):
            split = graph.call_function(
                _aten.split_with_sizes.default, (source.node, [stop - start for start, stop in parts], 1)
            )
        for index, part in reversed(list(enumerate(parts))):
            with graph.inserting_after(split):
                source.parts[part] = graph.call_function(operator.getitem, (split, index))
        source.parts = dict(sorted(source.parts.items()))

    def _replace_gathered(self, use: _Use, image: Node) -> None:
        wanted = use.lanes.numbers.reshape(-1)
        places = {number: place for place, number in enumerate(use.order)}
        index = torch.tensor([places[number] for number in wanted])
        graph = self.graph.graph
        if not torch.equal(index, torch.arange(len(use.order))):
            image = graph.call_function(_aten.index_select.default, (image, 1, add_constant(self.graph, index)))
        if not use.lanes.flat:
            image = graph.call_function(_aten.unflatten.int, (image, 1, list(use.lanes.numbers.shape)))
        use.node.replace_input_with(use.read, image)

    def _rows(self, use: _Use) -> Tensor:
        assert use.source is not None
        return torch.from_numpy(use.source.order - use.source.numbers[0])

    def _set_constants(self, use: _Use, tensors: Mapping[int, Tensor | None]) -> None:
        args = list(use.node.args)
        for place, tensor in tensors.items():
            args[place] = None if tensor is None else add_constant(self.graph, tensor)
        use.node.args = tuple(args)

    def _at(self, use: _Use, place: int) -> Tensor | None:
        return constant(self.graph, use.node.args[place]) if place < len(use.node.args) else None

    def _write_all(self, use: _Use) -> None:
        weight, bias, rows = self._at(use, 1), self._at(use, 2), self._rows(use)
        assert weight is not None
        numbers = use.lanes.numbers
        read = np.isin(numbers, use.order)
        places = np.searchsorted(np.sort(use.order), numbers[read])
        columns = torch.from_numpy(np.argsort(use.order)[places])
        # a channel that is read twice gets the sum of its weights
        new = weight.new_zeros(len(rows), len(use.order), *weight.shape[2:], dtype=torch.float64)
        new.index_add_(1, columns, weight[rows][:, torch.from_numpy(read)].double())
        self._set_constants(use, {1: new.to(weight.dtype)} | ({} if bias is None else {2: bias[rows]}))

    def _write_groups(self, use: _Use) -> None:
        weight, bias, rows = self._at(use, 1), self._at(use, 2), self._rows(use)
        assert weight is not None
        columns = torch.stack(
            [
                torch.from_numpy(np.argsort(before)[np.searchsorted(np.sort(before), after)])
                for before, after in zip(
                    np.split(use.lanes.numbers, use.groups), np.split(use.order, use.groups), strict=True
                )
            ]
        )
        columns = columns.repeat_interleave(len(rows) // use.groups, 0)
        columns = columns.view(*columns.shape, *[1] * (weight.dim() - 2)).expand(-1, -1, *weight.shape[2:])
        new = weight[rows].gather(1, columns)
        self._set_constants(use, {1: new} | ({} if bias is None else {2: bias[rows]}))

    def _write_each(self, use: _Use) -> None:
        rows = self._rows(use)
        layer = convolution(self.graph, use.node)
        places = (1, 2) if layer else _EACH.get(use.node.target, ())
        old = {place: self._at(use, place) for place in places}
        self._set_constants(use, {place: tensor[rows] for place, tensor in old.items() if tensor is not None})
        if layer:
            use.node.args = (*use.node.args[:6], len(rows))
