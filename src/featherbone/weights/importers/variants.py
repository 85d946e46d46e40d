"""Rows that differ from a network's in one column, and of which the tensors' shapes tell nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from typing import Any

from featherbone.errors import InputError
from featherbone.spec import Spec
from featherbone.weights.importers.match import OURS, forms, own_layers
from featherbone.weights.importers.order import BY_ORDER
from featherbone.weights.importers.sources import LayerMapping

# what files decide, what no weights are made for, and what only matters while a network learns
_OTHERS = {"num_classes", "in_chans", "output_stride", "partial_ratio", "fusion"}
_OTHERS |= {"drop_path", "dropout", "dropout_everywhere"}
_STEMS = (4, 2, 1)
_SHAPELESS = {"stride", "pool"}  # words in the names of counts that shape no tensor


def variants(row: Spec) -> Iterator[tuple[str, Spec]]:
    """Yield a column, and the row with another value in it, for every column with an obvious other value."""
    for field in fields(row):
        value: Any = getattr(row, field.name)
        flags = isinstance(value, tuple) and all(isinstance(one, bool) for one in value)
        if field.name in _OTHERS or (isinstance(value, str | tuple) and not flags):
            continue
        others: tuple[Any, ...]
        if field.name == "stem_stride":
            others = tuple(stride for stride in _STEMS if stride != value)
        elif isinstance(value, tuple):
            others = (tuple(not one for one in value),)
        elif isinstance(value, bool):
            others = (not value,)
        elif isinstance(value, int):
            others = (value - 1, value + 1) if set(field.name.split("_")) & _SHAPELESS else ()
        else:
            others = (0.0,) if value else (0.1,)
        for other in others:
            try:
                yield field.name, replace(row, **{field.name: other})
            except InputError:
                continue


@cache
def alike(row: Spec) -> tuple[tuple[str, Spec], ...]:
    """Return the variants whose tensors have the row's shapes, one after the other, and that compute otherwise."""
    shapes, network = _outline(row)
    found = []
    for column, other in variants(row):
        theirs = _outline(other)
        if theirs[0] == shapes and theirs[1] != network:
            found.append((column, other))
    return tuple(found)


def untold(row: Spec, source: str) -> list[str]:
    """Return the columns that neither the tensors of a file nor the form in which it is tell.

    Args:
        row: the network's.
        source: the project whose form the file has, ``OURS`` or ``BY_ORDER``.
    """
    found = []
    for column, other in alike(row):
        if source == BY_ORDER:
            told = False
        elif source == OURS:
            told = own_layers(other) != own_layers(row)
        else:
            mine = next((names for project, names in forms(row) if project.name == source), [])
            told = not any(
                _names(names) == _names(mine) and column not in project.either for project, names in forms(other)
            )
        if not told and column not in found:
            found.append(column)
    return found


def _names(layers: list[LayerMapping]) -> list[tuple[str, ...]]:
    return [layer.names for layer in layers]


@cache
def _outline(row: Spec) -> tuple[tuple[tuple[int, ...], ...], str]:
    """Return the shapes of a network's tensors, and its modules in words."""
    try:
        model = row.build_empty()
    except InputError:  # a row that passes its own checks may still not build
        return (), ""
    return tuple(tuple(tensor.shape) for tensor in model.state_dict().values()), str(model)
