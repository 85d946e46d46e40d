"""Where the images lie in a tar file, and what their labels are."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO

from featherbone.data.dataset import Skipped
from featherbone.data.names import printable
from featherbone.errors import InputError
from featherbone.files import decode, parse_json

_IMAGES = {"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2", "avif"}
_LABELS = ("cls", "json")
_KEYS = ("label", "cls", "class", "target", "class_name", "label_name", "category")
_BLOCK = 512
_MOST_LABEL_BYTES = 1 << 20
_MOST_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Sample:
    """An encoded image in a tar file: ``size`` bytes at ``offset``, and its label, a number or a name."""

    name: str
    offset: int
    size: int
    label: str


@dataclass
class _Parts:
    """The files of one key."""

    image: tarfile.TarInfo | None = None
    labels: dict[str, str] = field(default_factory=dict)
    wrong: str = ""


class _Guarded(io.RawIOBase):
    """A file that refuses long reads: a damaged or hostile header may claim any length."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def samples_of(file: BinaryIO) -> tuple[list[Sample], list[Skipped]]:
    """Return the labelled images of a tar file in their order, and what cannot be used, and why.

    Of a damaged file, what can be read is used.
    """
    found: dict[str, _Parts] = {}
    odd: list[Skipped] = []
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    end = 0
    try:
        for member in _members(file):
            end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
            reason = _unusable(member, length)
            if reason:
                odd.append(Skipped(printable(member.name), reason))
            elif member.isreg():
                _take(member, file, found)
        file.seek(end)
        rest = file.read(_BLOCK)
        if rest.strip(b"\0") or not rest:  # it ends with blocks of zeros
            odd.append(Skipped("", "the tar file is cut short or damaged; what comes before that is used"))
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        odd.append(Skipped("", f"the tar file is damaged ({error}); what comes before that is used"))
    samples = []
    for key, parts in found.items():
        reason = _incomplete(parts)
        if parts.image is None or reason:
            odd.append(Skipped(printable(parts.image.name if parts.image else key), reason))
            continue
        label = next(parts.labels[kind] for kind in _LABELS if kind in parts.labels)
        samples.append(Sample(printable(parts.image.name), parts.image.offset_data, parts.image.size, label))
    return samples, odd


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=_Guarded(file), mode="r:") as archive:
        last = -1
        while (member := archive.next()) is not None:
            if member.offset <= last or member.size < 0:
                raise tarfile.ReadError("its headers lead in a circle")
            last = member.offset
            yield member


def _unusable(member: tarfile.TarInfo, length: int) -> str:
    if member.isdir():
        return ""
    if not member.isreg():
        return "a link or a device, not a file"
    if member.issparse():
        return "a file with holes"
    return "cut short" if member.offset_data + member.size > length else ""


def _take(member: tarfile.TarInfo, file: BinaryIO, found: dict[str, _Parts]) -> None:
    path = PurePosixPath(member.name)
    stem, _, kind = path.name.partition(".")
    if not stem:  # hidden
        return
    parts = found.setdefault(str(path.with_name(stem)), _Parts())
    if kind.lower() in _IMAGES:
        parts.image = parts.image or member
    elif kind in _LABELS:
        if member.size > _MOST_LABEL_BYTES:
            parts.wrong = f"its label has {member.size:,} bytes"
            return
        file.seek(member.offset_data)
        label = _label(kind, file.read(member.size))
        if label:
            parts.labels[kind] = label


def _label(kind: str, content: bytes) -> str:
    """Return a label, numbers in their shortest form; empty if there is none."""
    try:
        value = parse_json(content, kind) if kind == "json" else decode(content, kind)
    except InputError:
        return ""
    if isinstance(value, dict):
        value = next((value[key] for key in _KEYS if key in value), None)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    text = str(value).strip()
    return str(int(text)) if text.isdecimal() and len(text) < 19 else printable(text)


def _incomplete(parts: _Parts) -> str:
    if parts.image is None:
        return "no image beside it"
    if not parts.labels:
        return parts.wrong or "no label: neither in .cls nor in .json beside it"
    return ""
