"""Read what people and programs wrote; write files so that a reader sees the old content or the new, never a half."""

from __future__ import annotations

import codecs
import hashlib
import json
import math
import mmap
import os
import secrets
import stat
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from featherbone.errors import InputError, check_type, needs

AnyPath = str | os.PathLike[str]

_T = TypeVar("_T")
_MOST_BYTES = 1 << 30
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

PICTURES = (".png", ".svg", ".pdf")

# every file that a verb writes holds this somewhere: so it is known to be ours, and may be written anew
MARK = "made by featherbone"


def kind_of(status: os.stat_result) -> str:
    """Return what a name stands for: "a file", "a folder", "a pipe" and so on."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "something else")


def check_replaceable(
    name: str, path: str | os.PathLike[str], *, overwrite: bool = False, mark: str | None = MARK
) -> None:
    """Refuse to replace a file that somebody else made: whatever exists, is not empty, and does not hold our mark.

    Args:
        name: what the caller calls the path.
        path: the file that is to be written.
        overwrite: replace it whoever made it.
        mark: what a file of ours of this kind holds; ``None`` if nothing tells it from others.

    Raises:
        InputError: if it is somebody else's, or a pipe or a device.
    """
    check_type(name, path, (str, os.PathLike), "the path of a file to write")
    target = Path(path)
    try:
        status = target.stat()
    except (OSError, ValueError):
        return  # it is not there; if it cannot be, whoever writes it will say so
    kind = kind_of(status)
    if kind not in ("a file", "a folder"):
        raise InputError(f"{name}={target} is {kind}: name a file")
    if overwrite or kind == "a folder" or not status.st_size:
        return
    try:
        with target.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            ours = mark is not None and content.find(mark.encode()) >= 0
    except OSError:  # what cannot be read is not known to be ours
        ours = False
    if not ours:
        raise InputError(
            f"{name}={target} exists and was not made by featherbone: name another file, or say --overwrite "
            "(in Python overwrite=True)"
        )


def check_output(
    name: str,
    path: str | os.PathLike[str],
    suffixes: Sequence[str],
    *,
    overwrite: bool = False,
    mark: str | None = MARK,
) -> None:
    """Check that a file can be written, before the work begins whose result it is to hold. Nothing is left behind.

    Args:
        name: what the caller calls the path.
        path: the file. Its folder need not exist: writing it will make it.
        suffixes: those that are allowed.
        overwrite: replace it whoever made it; else only what is ours, as ``check_replaceable`` has it.
        mark: what a file of ours of this kind holds.

    Raises:
        InputError: if it has another suffix, is a folder or somebody else's, or its folder cannot be written.
    """
    check_type(name, path, (str, os.PathLike), f"the path of a file that ends in {' or '.join(suffixes)}")
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise InputError(f"{name}={target} is not allowed: a file that ends in {' or '.join(suffixes)}")
    try:
        if target.is_dir():
            raise InputError(f"{name}={target} is a folder: name a file")
        check_replaceable(name, target, overwrite=overwrite, mark=mark)
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

    The temporary name keeps the suffix, because several writers choose their format by it. The file has the mode that
    the umask says, whatever its writer gives it (safetensors: readable by its owner alone).

    Raises:
        InputError: if the file cannot be written there.
    """
    check_type("path", path, (str, os.PathLike), "the path of a file to write")
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(mode)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # where nothing could be written there is nothing to remove
            temporary.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write a text file, whole or not at all; bytes in names that are no text as ``\udcff``."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def cache_folder() -> Path:
    """Return the folder for what can be made again: ``featherbone`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    For a user without a home that can be written it is a temporary one; a warning says so.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    return Path(given) / "featherbone" if given else _home_cache(os.environ.get("HOME"))


@cache
def _home_cache(_: str | None) -> Path:
    try:
        folder = Path.home() / ".cache" / "featherbone"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows where home is
        why = error.strerror if isinstance(error, OSError) else error
    temporary = Path(tempfile.mkdtemp(prefix="featherbone-cache-"))
    warnings.warn(f"there is no home to cache in ({why}): {temporary} serves until this is over", stacklevel=3)
    return temporary


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all; numbers that JSON has not are ``null``."""
    write_text(path, to_json(value) + "\n")


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return JSON. It has neither NaN nor infinity: they become ``null``, as does every figure that there is not."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def read_bytes(path: Path, most: int = _MOST_BYTES) -> bytes:
    """Return what a file holds. Opening a pipe would wait for ever: only files are opened.

    Args:
        path: the file.
        most: bytes; more than that is refused unread.

    Raises:
        InputError: if it is no file, too large, or cannot be read.
    """
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise InputError(f"{path} cannot be read: it is too large ({size:,} bytes, at most {most:,})")
        return stream.read(most)


def digest(path: Path) -> str:
    """Return a digest (the first 32 hexadecimal digits of BLAKE2b) of what a file holds: equal files have the same.

    Raises:
        InputError: if it is no file, or cannot be read.
    """
    with open_file(path) as stream:
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
    # a key with half a character cannot be looked up
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:
        raise InputError(f"{path} is not as it should be: {error}") from error


@contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """Open a file to read; opening a pipe would wait for ever, so only files are.

    Raises:
        InputError: if it is no file, or cannot be read.
    """
    try:
        if (kind := kind_of(path.stat())) != "a file":
            raise InputError(f"{path} cannot be read: it is {kind}, not a file")
        with path.open("rb") as stream:
            yield stream
    except (OSError, ValueError) as error:  # a null byte in a name is a ValueError
        if isinstance(error, InputError):
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path} cannot be read: {why}") from error


def exists(path: Path) -> bool:
    """Return whether something has that name; one that no disk can hold is nobody's.

    Raises:
        InputError: if a folder on the way may not be entered.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except OSError:
        return False


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
