"""COLUMN=VALUE on the command line, of a recipe or of a network's row."""

from __future__ import annotations

from collections.abc import Collection
from json import loads
from typing import Any

import featherbone as fb


def columns(given: Collection[str], lists: Collection[str], example: str) -> dict[str, Any]:
    """Return columns and their values: ``mixup=0.2``, ``layers=6,12,24``, ``class_weights=balanced``.

    Args:
        given: as typed.
        lists: columns that hold several values, with commas between.
        example: of a column with a value, for the message.

    Raises:
        InputError: if one is no COLUMN=VALUE.
    """
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise fb.InputError(f"--set {one} is not allowed: COLUMN=VALUE, for example {example}")
        found[name] = [_value(part) for part in value.split(",")] if name in lists else _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        return text
