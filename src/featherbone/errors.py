"""The one exception that means "the caller can fix this": every other exception is a bug of ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# in an address: user and password, and what a query calls a secret
_ADDRESS = re.compile(r"\w+://\S+")
_USER = re.compile(r"://(?:([^/?#\s:@]*):)?[^/?#\s]*@")
_QUERY = re.compile(
    r"([?&][^=&\s]*(?:token|key|sig|secret|pass|pwd|auth|cred|access|session|jwt)[^=&\s]*=)[^&#\s]*", re.IGNORECASE
)


class InputError(ValueError):
    """Bad input. The message is one sentence a user can act on: the argument, what was given, what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(masked(message))


class InterruptedRunError(Exception):
    """Ctrl-C: the run stopped, and its last complete epoch is on disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"stopped; the run is in {folder}")
        self.folder = folder


def masked(text: str) -> str:
    """Return a text without the passwords and tokens of the addresses in it, as it may be printed and kept.

    >>> masked("https://me:secret@host/a.tar?id=3&token=abc")
    'https://me:***@host/a.tar?id=3&token=***'
    """

    def mask(address: re.Match[str]) -> str:
        without_user = _USER.sub(lambda user: f"://{user[1]}:***@" if user[1] else "://***@", address[0])
        return _QUERY.sub(r"\1***", without_user)

    return _ADDRESS.sub(mask, text)


def check_type(name: str, value: object, kinds: type | tuple[type, ...], allowed: str) -> None:
    """Refuse a value of a type that an argument does not take.

    Args:
        name: of the argument.
        value: what was given.
        kinds: the types that are allowed.
        allowed: the same in words.

    Raises:
        InputError: if it is of another one.
    """
    if not isinstance(value, kinds):
        given = repr(value) if isinstance(value, int | float | str | bytes | None) else f"a {type(value).__name__}"
        raise InputError(f"{name}={given:.80} is not allowed: {allowed}")


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
