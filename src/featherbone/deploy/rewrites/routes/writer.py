"""Writing a network as planned: orders go into weights, and only what is read from several places is joined."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from featherbone.deploy.program import add_constant, cleaned, constant, convolution
from featherbone.deploy.rewrites.routes.lanes import Numbers
from featherbone.deploy.rewrites.routes.plan import Plan
from featherbone.deploy.rewrites.routes.reader import EACH, ChannelSource, Routes, Use

_aten = torch.ops.aten


class Writer:
    """Writes a plan into the graph that was read."""

    def __init__(self, routes: Routes, plan: Plan) -> None:
        self.graph = routes.graph
        self._uses = routes.uses
        self._plan = plan
        self._joined: dict[tuple[bytes, tuple[int, ...]], Node] = {}

    def written(self) -> GraphModule:
        """Return the graph that works as planned."""
        for use in self._uses:
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
        if key not in self._joined:
            pieces = [self._viewed(piece, source.tail, tail) for source, piece in self._pieces(order)]
            whole = pieces[0]
            if len(pieces) > 1:
                whole = self.graph.graph.call_function(_aten.cat.default, (pieces, 1))
            self._joined[key] = whole
        return self._joined[key]

    def _viewed(self, piece: Node, present: tuple[int, ...], tail: tuple[int, ...]) -> Node:
        if present == tail:
            return piece
        # one point an image, with or without its sides
        name = _aten.flatten.using_ints
        if not tail:
            return self.graph.graph.call_function(name, (piece, 1))
        return self.graph.graph.call_function(_aten.unflatten.int, (piece, 1, [-1, *tail]))

    def _pieces(self, order: Numbers) -> list[tuple[ChannelSource, Node]]:
        found: list[tuple[ChannelSource, Node]] = []
        for source, start, stop in self._plan.runs(order):
            if (start, stop) == (0, len(source.order)):
                found.append((source, source.node))
                continue
            if not source.parts:
                self._split(source)
            found += [(source, node) for (a, b), node in source.parts.items() if start <= a and b <= stop]
        return found

    def _split(self, source: ChannelSource) -> None:
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

    def _replace_gathered(self, use: Use, image: Node) -> None:
        wanted = use.lanes.numbers.reshape(-1)
        places = {number: place for place, number in enumerate(use.order)}
        index = torch.tensor([places[number] for number in wanted])
        graph = self.graph.graph
        if not torch.equal(index, torch.arange(len(use.order))):
            image = graph.call_function(_aten.index_select.default, (image, 1, add_constant(self.graph, index)))
        if not use.lanes.flat:
            image = graph.call_function(_aten.unflatten.int, (image, 1, list(use.lanes.numbers.shape)))
        use.node.replace_input_with(use.read, image)

    def _rows(self, use: Use) -> Tensor:
        assert use.source is not None
        return torch.from_numpy(use.source.order - use.source.numbers[0])

    def _set_constants(self, use: Use, tensors: Mapping[int, Tensor | None]) -> None:
        args = list(use.node.args)
        for place, tensor in tensors.items():
            args[place] = None if tensor is None else add_constant(self.graph, tensor)
        use.node.args = tuple(args)

    def _at(self, use: Use, place: int) -> Tensor | None:
        return constant(self.graph, use.node.args[place]) if place < len(use.node.args) else None

    def _write_all(self, use: Use) -> None:
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

    def _write_groups(self, use: Use) -> None:
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

    def _write_each(self, use: Use) -> None:
        rows = self._rows(use)
        layer = convolution(self.graph, use.node)
        places = (1, 2) if layer else EACH.get(use.node.target, ())
        old = {place: self._at(use, place) for place in places}
        self._set_constants(use, {place: tensor[rows] for place, tensor in old.items() if tensor is not None})
        if layer:
            use.node.args = (*use.node.args[:6], len(rows))
