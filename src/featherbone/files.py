"""Read what people and programs wrote; write files so that a reader sees the old content or the new, never a half."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from featherbone.errors import InputError, check_type, needs

AnyPath = str | os.PathLike[str]

_T = TypeVar("_T")
_MOST_BYTES = 1 << 30
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

PICTURES = (".png", ".svg", ".pdf")


def check_output(name: str, path: str | os.PathLike[str], suffixes: Sequence[str]) -> None:
    """Check that a file can be written, before the work begins whose result it is to hold. Nothing is left behind.

    Args:
        name: what the caller calls the path.
        path: the file. Its folder need not exist: writing it will make it.
        suffixes: those that are allowed.

    Raises:
        InputError: if it has another suffix, is a folder, or its folder cannot be written.
    """
    check_type(name, path, (str, os.PathLike), f"the path of a file that ends in {' or '.join(suffixes)}")
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise InputError(f"{name}={target} is not allowed: a file that ends in {' or '.join(suffixes)}")
    try:
        if target.is_dir():
            raise InputError(f"{name}={target} is a folder: name a file")
        there = next(folder for folder in target.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error


def check_outside(name: str, path: AnyPath, data: AnyPath) -> None:
    """Check that what is to be written does not lie inside a folder that is read: it would become a part of the data.

    Args:
        name: what the caller calls the path.
        path: what is to be written.
        data: what is read; if it is no folder on this disk, anything is allowed.

    Raises:
        InputError: if it does.
    """
    if not os.path.isdir(data):  # noqa: PTH112 - never raises
        return
    root, target = Path(os.path.realpath(data)), Path(os.path.realpath(path))
    if target.is_relative_to(root):
        raise InputError(
            f"{name}={path} is not allowed: it lies inside the data ({root}), and would become a part of it; choose a "
            f"folder outside, such as {root.with_name(f'{root.name}-results')}"
        )


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on any error it is removed.

    The temporary name keeps the suffix, because several writers choose their format by it.

    Raises:
        InputError: if the file cannot be written there.
    """
    check_type("path", path, (str, os.PathLike), "the path of a file to write")
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # where nothing could be written there is nothing to remove
            temporary.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_bytes(path: Path, most: int = _MOST_BYTES) -> bytes:
    """Return what a file holds. Opening a pipe would wait for ever: only files are opened.

    Args:
        path: the file.
        most: bytes; more than that is refused unread.

    Raises:
        InputError: if it is no file, too large, or cannot be read.
    """
    with _opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise InputError(f"{path} cannot be read: it is too large ({size:,} bytes, at most {most:,})")
        return stream.read(most)


def digest(path: Path) -> str:
    """Return a digest (the first 32 hexadecimal digits of BLAKE2b) of what a file holds: equal files have the same.

    Raises:
        InputError: if it is no file, or cannot be read.
    """
    with _opened(path) as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:32]


def decode(content: bytes, path: object) -> str:
    r"""Return the text in bytes that people or programs wrote: UTF-8, or UTF-16 with its mark; every line ends in \n.

    Args:
        content: the bytes; a byte order mark is no part of the text.
        path: what the sentence of an error names.

    Raises:
        InputError: if it is no text.
    """
    marked = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(marked)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: it is no text in UTF-8 (byte {error.start:,})") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path, most: int = _MOST_BYTES) -> str:
    """Return the text in a file, however a person's editor wrote it.

    Raises:
        InputError: if it is no file, too large, no text, or cannot be read.
    """
    return decode(read_bytes(path, most), path)


def parse_json(content: bytes | str, path: object) -> Any:
    """Return the value in JSON. NaN and Infinity are refused, as the standard has it; so is what is too deep.

    Raises:
        InputError: if it is no JSON.
    """
    text = decode(content, path) if isinstance(content, bytes) else content
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        InputError: if it cannot be read.
    """
    values = parse_json(read_bytes(path), path)
    if not isinstance(values, dict):
        raise InputError(f"{path} cannot be read: it holds no JSON object")
    return values


def typed(values: Any, kind: type[_T], path: object) -> _T:
    """Return values read from JSON as a dataclass (or any type of hints), each of the type that it states.

    Raises:
        InputError: if one is of another type or missing; the sentence says where. Or if msgspec is missing.
    """
    with needs("train", "reading runs"):
        import msgspec
    try:
        return msgspec.convert(values, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"{path} is not as it should be: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file to read: whatever else the name stands for, and whatever goes wrong, is a sentence."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise InputError(f"{path} cannot be read: it is {kind}, not a file")
        with path.open("rb") as stream:
            yield stream
    except (OSError, ValueError) as error:  # a null byte in a name is a ValueError
        if isinstance(error, InputError):
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path} cannot be read: {why}") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
