"""MNIST, Fashion-MNIST and whatever else was published in their format: idx files, packed or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from featherbone.data.dataset import Item, Listing
from featherbone.data.names import TEST, TRAIN, class_list
from featherbone.errors import InputError, first_line
from featherbone.files import read_text

_SPLITS = {TRAIN: "train", TEST: "t10k"}
_BYTES = 8  # the format's code for unsigned bytes
_MOST_BYTES = 1 << 30
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
# the files of both are called the same, and have no names of classes; their first labels tell them apart
_FIRST_OF_FASHION = (9, 0, 0, 3, 0, 2, 7, 2, 5, 5)
_NAMES = "classes.txt"
_KINDS = {"images": 3, "labels": 1}  # files of a split, and how many dimensions they have


def find_idx(path: Path) -> Listing[str] | None:
    """Return the images of a folder with ``train-images-idx3-ubyte`` and the like (``.gz`` or not), or ``None``.

    Raises:
        InputError: if a file is missing or damaged.
    """
    folder = next((f for f in (path, path / "raw") if f.is_dir() and _file(f, "train-images", 3)), None)
    if folder is None:
        return None
    arrays = {}
    for split, word in _SPLITS.items():
        images, labels = (_read(folder, f"{word}-{what}", dimensions) for what, dimensions in _KINDS.items())
        if len(images) != len(labels):
            raise InputError(f"{path} is damaged: its {split} split has {len(images)} images and {len(labels)} labels")
        arrays[split] = images, labels
    classes = _classes(folder, arrays[TRAIN][1])
    splits = {}
    for split, (images, labels) in arrays.items():
        if labels.max(initial=0) >= len(classes):
            raise InputError(f"{path} is damaged: it has the label {labels.max()}, but there are {len(classes)}")
        splits[split] = [Item(image, classes[label]) for image, label in zip(images, labels, strict=True)]
    used = (
        _file(folder, f"{word}-{what}", n) for word in _SPLITS.values() for what, n in (("images", 3), ("labels", 1))
    )
    files = frozenset(file for file in (*used, folder / _NAMES) if file)
    return Listing(name=str(path), splits=splits, classes=classes, annotations=files)


def _classes(folder: Path, labels: np.ndarray) -> tuple[str, ...]:
    if (folder / _NAMES).is_file():
        return class_list(read_text(folder / _NAMES))
    if tuple(labels[:10]) == _FIRST_OF_FASHION:
        return _FASHION
    return tuple(str(number) for number in range(int(labels.max(initial=0)) + 1))


def _file(folder: Path, name: str, dimensions: int) -> Path | None:
    names = (f"{name}{dot}idx{dimensions}-ubyte{packed}" for dot in "-." for packed in ("", ".gz"))
    return next((folder / found for found in names if (folder / found).is_file()), None)


def _read(folder: Path, name: str, dimensions: int) -> np.ndarray:
    path = _file(folder, name, dimensions)
    if path is None:
        raise InputError(f"{folder} is not whole: {name}-idx{dimensions}-ubyte is missing")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zero, kind, found, *shape = struct.unpack(f">HBB{dimensions}I", file.read(4 + 4 * dimensions))
            size = int(np.prod(shape, dtype=object))
            if (zero, kind, found) != (0, _BYTES, dimensions) or not 0 < size <= _MOST_BYTES:
                raise InputError(f"{path} is no idx file of {dimensions} dimensions and unsigned bytes")
            content = file.read(size + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise InputError(f"{path} is damaged: {first_line(error)}") from error
    if len(content) != size:
        raise InputError(f"{path} is damaged: it should hold {size:,} bytes")
    return np.frombuffer(content, np.uint8).reshape(shape)
