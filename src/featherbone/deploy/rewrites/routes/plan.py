"""Deciding where every channel lies, so that what is read together lies together."""

from __future__ import annotations

import numpy as np
import torch

from featherbone.deploy.program import constant
from featherbone.deploy.rewrites.routes.lanes import Numbers
from featherbone.deploy.rewrites.routes.reader import ChannelSource, Routes, Use


class Plan:
    """Where the channels of a network lie; the orders are written into its sources and uses.

    Attributes:
        live: for each channel, whether anybody reads it.
        rank: for each live channel, its place in memory; consecutive numbers lie side by side.
        dead: in how many layers some channels are not read, and so need not be computed.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self.live = np.zeros(len(routes.owner), bool)
        self.rank = np.zeros(len(routes.owner), np.int64)
        self._keep_orders()
        self._find_live()
        for use in routes.uses:
            for together in self._needed(use):
                self._hint(together)
        for index, source in enumerate(routes.sources):
            source.order = self._order(source)
            self.rank[source.order] = (index << 32) + np.arange(len(source.order))
        self._find_cuts()
        made = [source for source in routes.sources if source.origin is None]
        self.dead = sum(0 < len(source.order) < len(source.numbers) for source in made)

    def runs(self, order: Numbers) -> list[tuple[ChannelSource, int, int]]:
        """Return the stretches of memory that hold these channels in this order: source, start, stop."""
        if not len(order):
            return []
        ranks = self.rank[order]
        ends: list[int] = [*(np.flatnonzero(np.diff(ranks) != 1) + 1).tolist(), len(order)]
        starts = [0, *ends[:-1]]
        first: list[int] = (ranks[starts] & 0xFFFFFFFF).tolist()
        return [
            (self._routes.sources[self._routes.owner[order[start]]], at, at + stop - start)
            for start, stop, at in zip(starts, ends, first, strict=True)
        ]

    def _keep_orders(self) -> None:
        """Find the operations that need their channels in order, and pin what they read."""
        for use in self._routes.uses:
            if use.kind == "groups" and self._between_groups(use.lanes.numbers):
                use.kind = "as is"  # a shuffle between two grouped layers moves channels whatever their order
                self._pin(use.lanes.numbers)
            elif use.kind == "as is":
                if self._interleaved(use.lanes.numbers.reshape(-1)):
                    use.kind = "gather"
                else:
                    use.kind = (
                        "in order"
                        if use.lanes.flat and not isinstance(self._routes.values[use.read], list)
                        else "as is"
                    )
                    self._pin(use.lanes.numbers.reshape(-1))

    def _find_live(self) -> None:
        for source in self._routes.sources:
            # what is not written anew gives all its channels, in their order
            if source not in self._routes.maker or self._routes.maker[source].kind not in ("all", "groups", "each"):
                self._pin(source.numbers)
        for source in self._routes.sources:
            if source.pinned or source.node.op == "placeholder":
                self.live[source.numbers] = True
        for use in reversed(self._routes.uses):
            self._spread_life(use)

    def _find_cuts(self) -> None:
        """Write down what every operation will read, and where that begins and ends in memory."""
        for use in self._routes.uses:
            if use.kind != "as is":
                parts = self._needed(use)
                use.order = parts[0] if use.kind == "in order" else np.concatenate(list(map(self._in_memory, parts)))
                for source, start, stop in self.runs(use.order):
                    if (start, stop) != (0, len(source.order)):
                        source.cuts |= {start, stop}

    def _interleaved(self, numbers: Numbers) -> bool:
        """Return whether channels of several places alternate."""
        made = self._routes.root[numbers]
        return 1 + int((np.diff(made) != 1).sum()) > 2 * len(self._routes.touched(made))

    def _between_groups(self, numbers: Numbers) -> bool:
        """Return whether a grouped layer reads, in another order, what a grouped layer makes."""
        made = self._routes.root[numbers]
        return self._interleaved(numbers) and any(source.blocks.any() for source in self._routes.touched(made))

    def _pin(self, numbers: Numbers) -> None:
        for source in self._routes.touched(numbers):
            if not source.pinned:
                source.pinned = True
                if source.origin is not None:
                    self._routes.maker[source].kind = "as is"
                    self._pin(source.origin)

    def _spread_life(self, use: Use) -> None:
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

    def _needed(self, use: Use) -> list[Numbers]:
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
        weight = constant(self._routes.graph, use.node.args[1])
        assert weight is not None
        read = (weight[torch.from_numpy(alive)] != 0).transpose(0, 1).flatten(1).any(1).numpy()
        if alive.any() and not read.any():
            read[0] = True  # a layer of zeros and a bias still needs an input
        return [numbers[read]]

    def _hint(self, together: Numbers) -> None:
        for source in self._routes.touched(together):
            mine = together[np.isin(together, source.numbers)]
            if source.pinned or self.live[source.numbers].sum() == len(np.unique(mine)):
                continue
            source.hints.append(mine)
            if source.origin is not None:
                self._hint(source.origin[mine - source.numbers[0]])

    def _order(self, source: ChannelSource) -> Numbers:
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
