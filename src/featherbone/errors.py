"""The one exception that means "the caller can fix this": every other exception is a bug of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """Bad input. The message is one sentence a user can act on: the argument, what was given, what is allowed."""


class InterruptedRunError(Exception):
    """Ctrl-C: the run stopped, and its last complete epoch is on disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"stopped; the run is in {folder}")
        self.folder = folder


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest allowed word, or an empty string.

    >>> nearest("vovnet93", ["vovnet39", "densenet121"])
    " (did you mean 'vovnet39'?)"
    """
    close = difflib.get_close_matches(given, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names.

    >>> some(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def first_line(error: object) -> str:
    r"""Return the first line of what an error (or its reason) says; the name of its class, if it says nothing.

    >>> first_line(RuntimeError("out of memory\nat 0x7f"))
    'out of memory'
    >>> first_line(TimeoutError())
    'TimeoutError'
    """
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__


@contextmanager
def needs(extra: str, doing: str) -> Iterator[None]:
    """Turn a missing package inside the block into a sentence that says what to install.

    Raises:
        InputError: if an import fails for want of a package that is not ours.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("featherbone"):
            raise
        raise InputError(f"{doing} needs the package {error.name!r}: pip install 'featherbone[{extra}]'") from error


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> counted(1, "box", "boxes"), counted(1200, "image")
    ('1 box', '1,200 images')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
