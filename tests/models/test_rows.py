"""Any row at all: it is refused with the name of a column, or it runs and its maps are as it declares."""

import math
import random
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from helpers.families import FAMILIES, thin
from torch import nn

import featherbone as fb
from featherbone.errors import InputError

COUNTS = (0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 33, -1)
SHARES = (0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0, 2.5, -0.5, math.nan, math.inf)
WRONG: tuple[Any, ...] = ("a", None, (), (1,), ("a", "b"), 1.5, True, [4, None], {})
ROWS, MANY = 30, 400
# one row of every family
SMALLEST = list({fb.spec(name).family: name for name in reversed(FAMILIES)}.values())


def value(hint: Any, now: Any, draw: random.Random) -> Any:
    """Return a value for a column: mostly of its type, in its range or out of it."""
    if draw.random() < 0.1:
        return draw.choice(WRONG)
    if get_origin(hint) is Literal:
        return draw.choice((*get_args(hint), "middle"))
    if hint is bool:
        return draw.random() < 0.5
    if hint is int:
        return draw.choice((*COUNTS, now))
    if hint is float:
        return draw.choice(SHARES)
    inner = get_args(hint)[0]
    length = max(len(now) + draw.choice((0, 0, 0, 0, 1, -1)), 0)
    plain: list[Any] = [*now, *now][:length]
    return tuple(value(inner, one, draw) if draw.random() < 0.5 else one for one in plain)


def rows(name: str, seed: int, count: int) -> Iterator[tuple[dict[str, Any], fb.Spec | InputError]]:
    """Yield changed columns, and the row or what it was refused with."""
    draw = random.Random(f"{name} {seed}")
    row = thin(name, num_classes=3)
    hints = get_type_hints(type(row))
    names = [field.name for field in fields(row)]
    for _ in range(count):
        changed = {column: value(hints[column], getattr(row, column), draw)
                   for column in draw.sample(names, draw.randint(1, 4))}  # fmt: skip
        try:
            yield changed, replace(row, **changed)
        except InputError as error:
            yield changed, error


def check(name: str, changed: dict[str, Any], row: fb.Spec | InputError) -> bool:
    """Return whether a row runs; fail if it neither does nor is refused as it should be."""
    columns = [field.name for field in fields(fb.spec(name))]
    if not isinstance(row, InputError):
        try:
            network = row.build_empty()
        except InputError as error:
            row = error
    if isinstance(row, InputError):
        assert any(f"{column}=" in str(row) for column in columns), f"{changed}: {row}"
        return False
    image = torch.empty(2, row.in_chans, 64, 96, device="meta", requires_grad=True)
    maps: list[tuple[int, ...]] = []
    for stage in (network.stem, *network.stages):
        stage.register_forward_hook(lambda _module, _given, made: maps.append(tuple(made.shape)))
    out: torch.Tensor = network(image)
    torch.autograd.backward(out.sum())
    declared = [(2, c, math.ceil(64 / s), math.ceil(96 / s))
                for c, s in zip(network.channels, network.strides, strict=True)]  # fmt: skip
    # a pool that keeps what an odd side leaves over may have a point more
    near = all(
        a[:2] == b[:2] and abs(a[2] - b[2]) <= 1 and abs(a[3] - b[3]) <= 1 for a, b in zip(maps, declared, strict=True)
    )
    assert near, f"{changed}: {maps} instead of {declared}"
    assert image.grad is not None
    assert all(weight.shape for weight in network.parameters() if weight.numel()), changed
    assert not [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and not layer.weight.numel()], (
        changed
    )
    return True


@pytest.mark.parametrize("name", SMALLEST)
def test_a_row_is_refused_with_a_column_or_runs_as_declared(name: str) -> None:
    run = [check(name, changed, row) for changed, row in rows(name, 0, ROWS)]
    assert 2 < sum(run) < ROWS - 2  # some of each kind were tried


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_many_rows_of_every_family(name: str) -> None:
    for changed, row in rows(name, 1, MANY):
        check(name, changed, row)
