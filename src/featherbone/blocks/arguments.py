"""Shares as arguments of blocks: what is allowed, and the sentence about what is not."""

from __future__ import annotations

import math

from featherbone.errors import require


def require_share(name: str, value: float, *, zero: bool = True) -> None:
    """Refuse what is not a number from 0 to below 1; 0 itself is allowed if ``zero``.

    Raises:
        InputError: if it is not one.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    holds = number and 0 <= value < 1 and (zero or value > 0)
    require(name, value, holds, "from 0 to below 1" if zero else "above 0, below 1")
