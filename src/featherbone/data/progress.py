"""A progress bar on the error stream, where somebody watches it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def watched(items: Iterable[T], doing: str, *, total: int, quiet: bool) -> Iterable[T]:
    """Return the items, with a bar that counts them up to ``total`` and then vanishes."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return items
    return track(items, description=doing, total=total, console=console, transient=True)
