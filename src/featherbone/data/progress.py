"""A sign of life on the error stream, where somebody watches it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from featherbone.errors import needs

T = TypeVar("T")


def watched(items: Iterable[T], doing: str, *, total: int, quiet: bool) -> Iterable[T]:
    """Return the items, with a bar that counts them up to ``total`` and then vanishes."""
    with needs("train", "progress"):
        from rich.console import Console
        from rich.progress import track
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return items
    return track(items, description=doing, total=total, console=console, transient=True)


@contextmanager
def waiting(doing: str, *, quiet: bool) -> Iterator[None]:
    """Show what is going on inside the block."""
    with needs("train", "progress"):
        from rich.console import Console
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(doing):
        yield
