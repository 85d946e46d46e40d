"""Write files so that a reader sees the old content or the new, never a half; know beforehand whether one can."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from featherbone.errors import InputError

AnyPath = str | os.PathLike[str]


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


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on any error it is removed.

    The temporary name keeps the suffix, because several writers choose their format by it.

    Raises:
        InputError: if the file cannot be written there.
    """
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


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} cannot be read: it holds no JSON object")
    return values
