"""CIFAR-10 and CIFAR-100 as published, in their binary version: nothing is unpickled."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np

from featherbone.data.dataset import Item, Listing
from featherbone.data.names import TEST, TRAIN, class_list
from featherbone.errors import InputError, first_line
from featherbone.files import decode, read_bytes

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_MOST_BYTES = 1 << 28  # of one file; the largest published one has 154 MB
_MOST_UNPACKED = 1 << 29  # of an archive; the larger published one has 185 MB


@dataclass(frozen=True)
class _Edition:
    """How one of the two was published: a record is ``labels`` bytes, the last of which counts, and the pixels."""

    labels: int
    train: tuple[str, ...]
    test: str
    names: str


_EDITIONS = (
    _Edition(1, tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt"),
    _Edition(2, ("train.bin",), "test.bin", "fine_label_names.txt"),
)
_FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary")
_PICKLES = ("cifar-10-batches-py", "cifar-100-python", "data_batch_1", "batches.meta")
_PICKLED_FILES = {"meta", "train", "test"}  # of cifar-100-python


class _Bounded(gzip.GzipFile):
    """A packed file that ends with an error before it has given too much: a small one may unpack to terabytes."""

    left = _MOST_UNPACKED

    def read(self, size: int | None = -1) -> bytes:
        wanted = _MOST_UNPACKED + 1 if size is None or size < 0 else size
        self.left -= wanted
        if self.left < 0:
            raise OSError("it is larger than any published one")
        return super().read(wanted)


def find_cifar(path: Path) -> Listing[str] | None:
    """Return the images of a folder with CIFAR's files, or of the published archive; ``None`` for other paths.

    Raises:
        InputError: if it is the python version, which is pickled, or a file is missing or damaged.
    """
    if path.is_dir():
        return _from_folder(path)
    if path.name.lower().endswith((".tar.gz", ".tgz")) and path.is_file():
        return _from_archive(path)
    return None


def _from_folder(path: Path) -> Listing[str] | None:
    inner = next((path / name for name in _FOLDERS if (path / name).is_dir()), path)
    files = {file.name: file for file in inner.iterdir()}
    if files.keys() >= _PICKLED_FILES and all(files[name].is_file() for name in _PICKLED_FILES):
        _refuse(path)
    if any(name in files for name in _PICKLES):
        _refuse(path)
    edition = _edition(files)
    if edition is None:
        return None
    wanted = {name: files[name] for name in _wanted(edition) if name in files}
    found = _listing(path, edition, {name: read_bytes(file, _MOST_BYTES) for name, file in wanted.items()})
    return replace(found, annotations=frozenset(wanted.values()))


def _from_archive(path: Path) -> Listing[str] | None:
    contents: dict[str, bytes] = {}
    wanted = {name for edition in _EDITIONS for name in _wanted(edition)}
    try:
        with _Bounded(path) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if any(part in _PICKLES for part in name.parts):
                    _refuse(path)
                if name.name in wanted and (file := archive.extractfile(member)):
                    contents[name.name] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise InputError(f"{path} cannot be unpacked as the archive of CIFAR: {first_line(error)}") from error
    edition = _edition(contents)
    return _listing(path, edition, contents) if edition else None


def _edition(names: Mapping[str, object]) -> _Edition | None:
    return next((edition for edition in _EDITIONS if edition.train[0] in names and edition.names in names), None)


def _wanted(edition: _Edition) -> tuple[str, ...]:
    return (*edition.train, edition.test, edition.names)


def _refuse(path: Path) -> NoReturn:
    raise InputError(
        f"{path} is the python version of CIFAR, which is pickled, and unpickling would run whatever it says: "
        "get the binary version (cifar-10-binary.tar.gz, cifar-100-binary.tar.gz)"
    )


def _listing(path: Path, edition: _Edition, contents: Mapping[str, bytes]) -> Listing[str]:
    missing = [name for name in _wanted(edition) if name not in contents]
    if missing:
        raise InputError(f"{path} is not whole: {', '.join(missing)} is missing")
    classes = class_list(decode(contents[edition.names], edition.names))
    splits = {
        TRAIN: [item for name in edition.train for item in _items(path, name, contents[name], edition.labels, classes)],
        TEST: _items(path, edition.test, contents[edition.test], edition.labels, classes),
    }
    return Listing(name=str(path), splits=splits, classes=classes)


def _items(path: Path, name: str, content: bytes, labels: int, classes: Sequence[str]) -> list[Item[str]]:
    count, rest = divmod(len(content), labels + _PIXELS)
    if rest or not count:
        raise InputError(f"{path}: {name} is damaged: {len(content):,} bytes are not whole images of CIFAR")
    records = np.frombuffer(content, np.uint8).reshape(count, labels + _PIXELS)
    numbers = records[:, labels - 1]
    if numbers.max() >= len(classes):
        raise InputError(f"{path}: {name} is damaged: it has the label {numbers.max()}, but there are {len(classes)}")
    planes = records[:, labels:].reshape(count, 3, _SIDE, _SIDE)
    pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))  # (count, 32, 32, 3)
    return [Item(image, classes[number]) for image, number in zip(pixels, numbers, strict=True)]
