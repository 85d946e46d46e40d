"""Labelled images: what every source of data becomes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np


class StoredImage(Protocol):
    """An encoded image that lies somewhere else than in a file of its own: a small frozen value that pickles."""

    @property
    def name(self) -> str:
        """What people know it by: one line, the same on every machine."""

    @property
    def group(self) -> str:
        """What has to be fetched as a whole before it can be read; empty if it is read by itself."""

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            InputError: if it cannot be had.
        """


Source = Path | np.ndarray | StoredImage


@dataclass(frozen=True)
class ImageInfo:
    """What was found when an image was decoded.

    Attributes:
        width: pixels, upright.
        height: pixels, upright.
        mode: as stored, in Pillow's words ("RGB", "L", "CMYK", "I;16", ...).
        turned: its EXIF tag turns or mirrors it.
        animated: it has further frames.
    """

    width: int
    height: int
    mode: str
    turned: bool = False
    animated: bool = False

    @property
    def grey(self) -> bool:
        """Whether it is stored without colour."""
        return self.mode in {"1", "L", "LA", "La", "I", "F"} or self.mode.startswith("I;")

    @property
    def side(self) -> int:
        """The shorter side, in pixels."""
        return min(self.width, self.height)


@dataclass(frozen=True)
class ScanResult:
    """What an earlier look at all images of a data set found, so that they need not be decoded again.

    Attributes:
        skipped: files that were left out.
        grey: every image is stored without colour.
    """

    skipped: tuple[Skipped, ...]
    grey: bool


@dataclass(frozen=True, slots=True)
class Item:
    """An image of a source and the name of its class; ``seen`` if it was decoded before."""

    source: Source
    label: str
    seen: ImageInfo | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Listing:
    """What a source names, before its images are looked at.

    Attributes:
        name: opens the same source again, from any folder.
        parts: images of "train", "val" and "test", those that there are; of "all" if nobody has split them.
        classes: names in label order, if the source states them; else those of the images, sorted.
        skipped: what can be no image, and why.
        size: input side that suits the images, if the source knows.
        kind: what a class is there, as a message says it.
    """

    name: str
    parts: Mapping[str, Sequence[Item]]
    classes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    size: int | None = None
    kind: str = "class"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels, in a fixed order.

    Attributes:
        sources: the images.
        labels: one class number each.
        groups: sizes of the runs of images that are fetched together, as those of a shard at a URL: whoever shuffles
            keeps them together; empty if any order costs the same.
    """

    sources: tuple[Source, ...]
    labels: tuple[int, ...]
    groups: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, items: Sequence[tuple[Source, int]]) -> ImageSet:
        """Return the set of (image, label) pairs."""
        sources = tuple(source for source, _ in items)
        return cls(sources, tuple(label for _, label in items), _groups(sources))

    def pick(self, indices: Iterable[int]) -> ImageSet:
        """Return the images at ``indices``."""
        return ImageSet.of([(self.sources[i], self.labels[i]) for i in indices])


@dataclass(frozen=True, eq=False)
class ImageData:
    """A classification data set, every image of it known to be readable.

    Attributes:
        name: what ``open_data`` opens it by: ``digits``, a path, a pattern, a URL.
        classes: names, in label order.
        channels: 1 if every image is grey, else 3.
        size: input side that suits the images: 32, 64 or 224 pixels (digits: 16).
        train: images to learn from.
        val: images held out.
        skipped: files left out.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    train: ImageSet
    val: ImageSet
    skipped: tuple[Skipped, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of every image's name (or pixels) and label: equal for equal sets, wherever their folder lies."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.val):
            for source, label in zip(part.sources, part.labels, strict=True):
                digest.update(identity(source, Path(self.name)))
                digest.update(b"%d;" % label)
        return digest.hexdigest()


def relative(path: Path, root: Path) -> Path:
    """Return a path as seen from a folder, or from the folder of a table; unchanged if it lies elsewhere."""
    for folder in (root, root.parent):
        if path.is_relative_to(folder):
            return path.relative_to(folder)
    return path


def identity(source: Source, root: Path) -> bytes:
    """Return what tells an image from others of its data set, on every machine."""
    if isinstance(source, np.ndarray):
        return source.tobytes()
    known = os.fsencode(relative(source, root).as_posix()) if isinstance(source, Path) else source.name.encode()
    return known + b"\0"


def group_of(source: Source) -> str:
    """Return what has to be fetched as a whole before an image can be read; empty for what lies here."""
    return "" if isinstance(source, (Path, np.ndarray)) else source.group


def _groups(sources: Sequence[Source]) -> tuple[int, ...]:
    fetched = list(map(group_of, sources))
    return tuple(len(list(run)) for _, run in groupby(fetched)) if any(fetched) else ()
