"""The one exception that means "the caller can fix this": every other exception is a bug of ours."""

from __future__ import annotations

import difflib
import math
import re
import reprlib
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

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


# what to know before an extra is installed
REMARKS = {"video": " (PyAV, whose wheel carries x264 and x265, licensed under GPL-2.0-or-later: see NOTICE)"}


class MissingPackageError(InputError):
    """A package that an extra brings is not installed.

    Attributes:
        doing: what needs it.
        package: its name.
        extra: of featherbone's.
    """

    def __init__(self, doing: str, package: str, extra: str) -> None:
        install = f"pip install 'featherbone[{extra}]'{REMARKS.get(extra, '')}"
        super().__init__(f"{doing} needs the package {package!r}: {install}")
        self.doing, self.package, self.extra = doing, package, extra


class InterruptedRunError(Exception):
    """Ctrl-C, SIGTERM or SIGHUP: the run stopped, and what it had learned is on disk.

    Attributes:
        folder: of the run.
        signal: the number of the signal.
    """

    def __init__(self, folder: Path, number: int = signal.SIGINT) -> None:
        super().__init__(f"stopped; the run is in {folder}")
        self.folder, self.signal = folder, number


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


def is_whole(value: object, least: int) -> bool:
    """Tell whether a value is a whole number of ``least`` or more; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def require(name: str, value: object, holds: bool, allowed: str) -> None:
    """Refuse a value that an argument or a column does not take.

    Raises:
        InputError: if ``holds`` is false.
    """
    if not holds:
        raise InputError(f"{name}={value!r} is not allowed: {allowed}")


def require_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number of ``least`` or more.

    Raises:
        InputError: if it is none.
    """
    require(name, value, is_whole(value, least), f"a whole number, {least} or more")


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
def parsing(source: object, said: str) -> Iterator[None]:
    """Turn whatever is raised while a file of somebody else's is understood into a sentence about that file.

    A damaged or hostile file makes a parser fail in any way. The block holds the parser alone, so that a fault of ours
    elsewhere keeps its traceback; ``--debug`` shows the one in here.

    Raises:
        InputError: if anything is raised inside the block.
    """
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"{source} cannot be read: {said} ({reason})") from error


@contextmanager
def needs(extra: str, doing: str) -> Iterator[None]:
    """Turn a missing package inside the block into a sentence that says what to install.

    Raises:
        MissingPackageError: if an import fails for want of a package that is not ours.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("featherbone"):
            raise
        raise MissingPackageError(doing, error.name or str(error), extra) from error


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> counted(1, "box", "boxes"), counted(1200, "image")
    ('1 box', '1,200 images')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def check_types(record: Any, where: str = "") -> None:
    """Check that every field of a dataclass has the type that it states: types come before ranges.

    Args:
        record: the dataclass. Which words a ``Literal`` allows is left to it.
        where: what a sentence says after "is not allowed".

    Raises:
        InputError: if one has not.
    """
    for name, hint in _hints(record.__class__).items():
        value = getattr(record, name)
        if not _has_type(value, hint):
            raise InputError(f"{name}={reprlib.repr(value)} is not allowed{where}: {_words(hint)}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is not ClassVar}


def _has_type(value: object, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (int, float):
        number = isinstance(value, int) and not isinstance(value, bool)
        return number or (hint is float and isinstance(value, float) and math.isfinite(value))
    if origin is Literal:
        return isinstance(value, str)
    if origin is tuple:
        return isinstance(value, tuple) and all(_has_type(part, arguments[0]) for part in value)
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is tuple:
        return _MANY.get(get_args(hint)[0], "a list")
    return _ONE.get(hint, f"a {hint.__name__}")


_ONE: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_MANY: dict[Any, str] = {int: "whole numbers", float: "numbers", bool: "true or false for each", str: "texts"}
