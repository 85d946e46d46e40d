"""Arguments of blocks: what is allowed, and the sentence about what is not."""

from __future__ import annotations

import math

from featherbone.errors import InputError


def require(name: str, value: object, holds: bool, allowed: str) -> None:
    """Refuse an argument that is not allowed.

    Raises:
        InputError: if ``holds`` is false.
    """
    if not holds:
        raise InputError(f"{name}={value!r:.80} is not allowed: {allowed}")


def require_count(name: str, value: int, least: int = 1) -> None:
    """Refuse what is not a whole number of ``least`` or more.

    Raises:
        InputError: if it is not one.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    require(name, value, whole and value >= least, f"a whole number, {least} or more")


def require_share(name: str, value: float, *, zero: bool = True) -> None:
    """Refuse what is not a number from 0 to below 1; 0 itself is allowed if ``zero``.

    Raises:
        InputError: if it is not one.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    holds = number and 0 <= value < 1 and (zero or value > 0)
    require(name, value, holds, "from 0 to below 1" if zero else "above 0, below 1")
