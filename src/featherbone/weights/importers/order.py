"""A file's tensors against ours in the order of running, where nobody knows the names.

Two orders of a file are believed: the one in which it was written, which is that of registration, unless it was sorted;
and the one that the numbers in its names give (``dense1.2`` before ``dense1.10``), with parts that have no number in
whatever order the shapes allow. Branches that run side by side may stand in either order. What fits in one way only is
a match; that shapes agree proves no more than that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from featherbone.data.names import printable
from featherbone.errors import counted
from featherbone.layers import Parallel
from featherbone.spec import Backbone
from featherbone.weights.importers.checkpoint import IDLE, Checkpoint
from featherbone.weights.importers.match import Match, layers_of
from featherbone.weights.importers.search import MOST_STEPS, Search, numbered, put, tree
from featherbone.weights.importers.slots import Layer, Shapes, Slot, fits
from featherbone.weights.importers.sources import LayerMapping, Project
from featherbone.weights.importers.values import COUNTS

BY_ORDER = "by order"
_CONVOLUTION = 2  # layers: it and its norm


@dataclass
class Ordered:
    """What came of matching by order.

    Attributes:
        matches: one for each place in the file at which the network fits; several for a place are readings of it.
        ambiguous: why more than one reading fits, if so.
        problem: the first layer that does not fit, where none does.
    """

    matches: list[Match] = field(default_factory=list)
    ambiguous: str = ""
    problem: str = ""


def ordered(model: Backbone, checkpoint: Checkpoint, tensors: Mapping[str, Tensor], *, most: int = 2) -> Ordered:
    """Return the matches of a network by order.

    Args:
        model: the network, empty.
        checkpoint: the file.
        tensors: its tensors, or their shapes.
        most: how many readings of the numbers in names are looked for.
    """
    leaves = layers_of(model)
    slots = [Slot(name, part, i == 0, i == len(leaves) - 1) for i, (name, part) in enumerate(leaves)]
    whole = Ordered()
    headless = len(slots) - isinstance(slots[-1].part, nn.Linear)
    done: set[str] = set()
    for group, prefix, layers in _places(checkpoint, tensors, headless):
        count = len(layers)
        if group in done:
            continue
        if count not in (len(slots), headless):
            whole.problem = whole.problem or f"it has {counted(count, 'layer')}, the network {len(slots)}"
            continue
        found = _readings(model, slots[:count], layers, checkpoint.in_order, most)
        whole.problem, whole.ambiguous = whole.problem or found.problem, whole.ambiguous or found.ambiguous
        if found.names:
            done.add(group)
        for names in found.names:
            mappings = [_mapping(slot, layer, prefix) for slot, layer in zip(slots, names, strict=False)]
            mappings += [LayerMapping(("no classifier",))] * (len(slots) - count)
            project = Project(BY_ORDER, lambda _: ())
            whole.matches.append(Match(project, mappings, prefix, {name: name for name in tensors}, tensors))
    return whole


@dataclass
class _Readings:
    names: list[list[Layer]] = field(default_factory=list)
    ambiguous: str = ""
    problem: str = ""


def _readings(model: Backbone, slots: Sequence[Slot], layers: Sequence[Layer], in_order: bool, most: int) -> _Readings:
    """Return which of the file's layers is which of ours, in every way that fits."""
    sides = _sides(model, slots)
    orders = [list(range(len(slots)))]
    orders += [_turned(orders[0], sides)] if sides else []
    found = _as_written(slots, layers, orders) if in_order else _Readings(problem="it was sorted by name")
    if not found.names:
        problem = found.problem
        found = _as_numbered(slots, layers, orders, most)
        found.problem = f"{problem}, and no other order that the numbers in its names allow fits"
    if len(found.names) == 1 and (exchanged := _exchanged(slots, found.names[0], sides)):
        found.names.append(exchanged)
    if len(found.names) > 1:
        one, other = found.names[:2]
        i = next(i for i, layer in enumerate(other) if layer != one[i])
        found.ambiguous = f"{slots[i].name} can be {printable(one[i].name)} or {printable(other[i].name)}"
    if found.ambiguous and not in_order:
        found.ambiguous += " (it was sorted by name, as safetensors are, so its own order tells nothing)"
    return found


def _as_written(slots: Sequence[Slot], layers: Sequence[Layer], orders: Sequence[Sequence[int]]) -> _Readings:
    """Return the readings in which the file's layers stand in the order of running."""
    found = _Readings()
    for order in orders:
        wrong = next((k for k, i in enumerate(order) if not fits(slots[i], layers[k])), None)
        if wrong is None:
            found.names.append(put(order, layers))
        elif not found.problem:
            found.problem = f"layer {wrong + 1} of the file, {layers[wrong]}, is not {slots[order[wrong]]}"
    if found.names and (pair := _against_numbers(layers)):
        found.ambiguous = f"the file has {pair[0]} before {pair[1]}, and the numbers say otherwise"
    return found


def _as_numbered(
    slots: Sequence[Slot], layers: Sequence[Layer], orders: Sequence[Sequence[int]], most: int
) -> _Readings:
    """Return the readings, ``most`` at most, in which what is numbered stands in the order of its numbers."""
    found = _Readings()
    search, modules = Search(slots), tree(layers)
    try:
        for order in orders:
            for names in search.solutions(modules, order):
                found.names += [names] if names not in found.names else []
                if len(found.names) >= most:
                    return found
    except RecursionError:  # a file of thousands of modules in one
        search.steps = MOST_STEPS + 1
    if search.steps > MOST_STEPS:
        found.ambiguous = "its names allow too many orders to try"
    return found


def _exchanged(slots: Sequence[Slot], names: Sequence[Layer], sides: Sequence[list[list[int]]]) -> list[Layer] | None:
    """Return a reading that fits, too, if there is one: wherever shapes allow, branches side by side are exchanged."""
    found = list(names)
    for blocks in sides:
        for turned in (_flipped(found, blocks), _flipped(found, blocks[::-1]), _first_exchanged(found, blocks)):
            if turned != found and all(fits(*pair) for pair in zip(slots, turned, strict=True)):
                found = turned
                break
    return found if found != list(names) else None


def _first_exchanged(names: Sequence[Layer], blocks: Sequence[Sequence[int]]) -> list[Layer]:
    """Return the same with a branch of one convolution in the place of the first convolution of the other branch.

    CSPNet's stages begin with two convolutions side by side, and the body comes after both.
    """
    exchanged = list(names)
    one, other = blocks[0], blocks[-1]
    if min(len(one), len(other)) <= _CONVOLUTION:
        for here, there in zip(one, other, strict=False):
            exchanged[here], exchanged[there] = names[there], names[here]
    return exchanged


def _mapping(slot: Slot, layer: Layer, prefix: str) -> LayerMapping:
    flat = isinstance(slot.part, nn.Linear) and len(layer.shapes["weight"]) == 4
    return LayerMapping((layer.name.removeprefix(prefix),), change=(lambda weight: weight.flatten(1)) if flat else None)


def _places(
    checkpoint: Checkpoint, tensors: Mapping[str, Tensor], least: int
) -> Iterator[tuple[str, str, list[Layer]]]:
    """Yield a dictionary of the file, the beginning of names under which enough layers lie, and these as written."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in tensors:
        groups[checkpoint.given[name][0]].append(name)
    for group, names in groups.items():
        tails = [name.split(".") for name in names]
        common = 0
        while all(len(parts) > common + 1 and parts[common] == tails[0][common] for parts in tails):
            common += 1
        yield group, "".join(f"{part}." for part in tails[0][:common]), _layers(names, tensors)
        for depth in (common + 1, common + 2):
            under: dict[str, list[str]] = defaultdict(list)
            for name, parts in zip(names, tails, strict=True):
                if len(parts) > depth:
                    under["".join(f"{part}." for part in parts[:depth])].append(name)
            for prefix, inner in under.items():
                if len(inner) >= least:
                    yield group, prefix, _layers(inner, tensors)


def _layers(names: Sequence[str], tensors: Mapping[str, Tensor]) -> list[Layer]:
    found: dict[str, Shapes] = {}
    for name in names:
        where, _, tensor = name.rpartition(".")
        if tensor not in IDLE and tensor != COUNTS:
            found.setdefault(where, {})[tensor] = tuple(tensors[name].shape)
    return [Layer(name, shapes) for name, shapes in found.items()]


def _sides(model: Backbone, slots: Sequence[Slot]) -> list[list[list[int]]]:
    """Return the layers of every two branches that run side by side, inner ones first."""
    found = []
    for name, part in model.named_modules():
        if isinstance(part, Parallel):
            branches = [
                [i for i, slot in enumerate(slots) if slot.name.startswith(f"{name}.branches.{number}.")]
                for number in range(len(part.branches))
            ]
            if len(blocks := [block for block in branches if block]) > 1:
                found.append(blocks)
    return sorted(found, key=lambda blocks: sum(map(len, blocks)))


def _turned(order: list[int], sides: Sequence[Sequence[Sequence[int]]]) -> list[int]:
    """Return the order of running in which branches side by side stand the other way round, all of them."""
    for blocks in sides:
        members = {i for block in blocks for i in block}
        start = min(order.index(i) for i in members)
        stand = [[i for i in order if i in set(block)] for block in blocks]
        order = [*order[:start], *(i for block in reversed(stand) for i in block), *order[start + len(members) :]]
    return order


def _flipped(names: Sequence[Layer], blocks: Sequence[Sequence[int]]) -> list[Layer]:
    """Return the same as if the file had branches that run side by side in the other order."""
    slots = [i for block in blocks for i in block]
    turned = [i for block in reversed(blocks) for i in block]
    flipped = list(names)
    for here, there in zip(slots, turned, strict=True):
        flipped[here] = names[there]
    return flipped


def _against_numbers(layers: Sequence[Layer]) -> tuple[str, str] | None:
    """Return two modules of the file that stand in another order than their numbers, if there are."""
    last: dict[tuple[str, str], tuple[int, str]] = {}
    for layer in layers:
        parts = layer.name.split(".")
        for depth, part in enumerate(parts):
            stem, number = numbered(part)
            name = ".".join(parts[: depth + 1])
            before = last.get((where := ".".join(parts[:depth]), stem), (-1, ""))
            if number < before[0]:
                return printable(before[1]), printable(name)
            last[where, stem] = number, name
    return None
