"""Ways to run through the modules of a file, as the numbers in its names allow."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from featherbone.weights.importers.slots import Layer, Slot, fits

MOST_STEPS = 100_000


@dataclass
class _Node:
    """A module of the file, as its names tell."""

    layer: Layer | None = None
    children: dict[str, _Node] = field(default_factory=dict)


class Search:
    """Ways to run through the modules of a file, numbers upwards, whose layers have the shapes of ours.

    Modules with the same parts are of one class, so their parts run in the same order.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = slots
        self.steps = 0
        self.runs: dict[frozenset[str], tuple[str, ...]] = {}

    def solutions(self, root: _Node, order: Sequence[int]) -> Iterator[list[Layer]]:
        for found in self._node(root, order, 0):
            if len(found) == len(order):
                yield put(order, found)

    def _node(self, node: _Node, order: Sequence[int], start: int) -> Iterator[list[Layer]]:
        self.steps += 1
        own = [node.layer] if node.layer else []
        if self.steps > MOST_STEPS or start + len(own) > len(order):
            return
        if node.layer and not fits(self.slots[order[start]], node.layer):
            return
        for rest in self._children(_rows(node), (), order, start + len(own)):
            yield own + rest

    def _children(
        self, waiting: dict[str, list[_Node]], run: tuple[str, ...], order: Sequence[int], start: int
    ) -> Iterator[list[Layer]]:
        """Yield the layers of what waits, by stems; ``run`` has the stems of what has run."""
        kind = frozenset(waiting)
        known = self.runs.get(kind)
        if len(run) == sum(map(len, waiting.values())):
            if known is None:
                self.runs[kind] = run
            yield []
            if known is None:
                del self.runs[kind]
            return
        for stem, nodes in waiting.items():
            place = run.count(stem)
            if place == len(nodes) or (known and len(kind) > 1 and known[len(run) : len(run) + 1] != (stem,)):
                continue
            for first in self._node(nodes[place], order, start):
                for rest in self._children(waiting, (*run, stem), order, start + len(first)):
                    yield first + rest


def _rows(node: _Node) -> dict[str, list[_Node]]:
    """Return the parts of a module by what their names begin with, in the order of the numbers behind it."""
    rows: dict[str, list[tuple[int, _Node]]] = defaultdict(list)
    for part, child in node.children.items():
        stem, number = numbered(part)
        rows[stem].append((number, child))
    return {stem: [child for _, child in sorted(row, key=lambda one: one[0])] for stem, row in rows.items()}


def tree(layers: Sequence[Layer]) -> _Node:
    """Return the modules of a file, as the names of its layers tell them."""
    root = _Node()
    for layer in layers:
        node = root
        for part in layer.name.split("."):
            node = node.children.setdefault(part, _Node())
        node.layer = layer
    return root


def numbered(part: str) -> tuple[str, int]:
    """Return a name without the number at its end, and this.

    >>> numbered("layer12"), numbered("bn")
    (('layer', 12), ('bn', -1))
    """
    found = re.fullmatch(r"(.*?)(\d{1,9})", part)
    return (found[1], int(found[2])) if found else (part, -1)


def put(order: Sequence[int], layers: Sequence[Layer]) -> list[Layer]:
    """Return the file's layers in the order of ours."""
    return [layer for _, layer in sorted(zip(order, layers, strict=True), key=lambda pair: pair[0])]
