"""Images and what is said of them, a class or boxes: what every source of data becomes.

``T`` is what is known of an image: its class's number, or its ``Annotations``. ``R`` is the same as a source has it: a
class's name, or ``RawAnnotations``.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np

from featherbone.data.names import ALL, TEST, TRAIN, VAL

T = TypeVar("T")
R = TypeVar("R")

DETECTION_SIZE = 416  # of a detector's input, in pixels, unless somebody says otherwise
_DTYPES = ("<f4", "<i8", "?")  # of an image's annotations, so that they have the same bytes everywhere

Format = Literal["COCO", "Pascal VOC", "YOLO"]


class RemoteState(Protocol):
    """A file elsewhere in the state in which it was found."""

    @property
    def url(self) -> str:
        """Where it lies."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def version(self) -> str:
        """Whatever else tells when it changes."""


class StoredImage(Protocol):
    """An encoded image that lies somewhere else than in a file of its own: a small frozen value that pickles."""

    @property
    def name(self) -> str:
        """What people know it by: one line, the same on every machine."""

    @property
    def group(self) -> str:
        """What has to be fetched as a whole before it can be read; empty if it is read by itself."""

    @property
    def origins(self) -> tuple[Path | RemoteState, ...]:
        """The files that hold it."""

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            InputError: if it cannot be fetched.
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


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why; or several: a folder with all that is in it.

    Attributes:
        path: as reports name it, relative to the data set; a folder ends in a slash.
        reason: one line.
        files: how many files are meant.
    """

    path: str
    reason: str
    files: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """The boxes of an image.

    Attributes:
        boxes: ``(N, 4)`` float32: x1 y1 x2 y2 in pixels of the upright image.
        labels: ``(N,)`` int64.
        crowd: ``(N,)`` bool: round many things at once, or too hard to tell; not learned, and ignored in scoring.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class RawAnnotations:
    """The boxes of an image as a source has them, not yet compared with the image.

    Attributes:
        annotations: in float64: boxes may lie anywhere or (NaN) nowhere, and have the label -1 if their class is not
            known.
        size: width and height of the image that was annotated, if they are stated.
        shares: the boxes are in shares of the width and height, not in pixels.
        annotated: somebody has said what is on it, be it nothing.
    """

    annotations: Annotations
    size: tuple[int, int] | None = None
    shares: bool = False
    annotated: bool = True


@dataclass(frozen=True, slots=True)
class Item(Generic[R]):
    """An image of a source and what the source says of it; ``info`` if it was decoded before."""

    source: Source
    target: R
    info: ImageInfo | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Listing(Generic[R]):
    """What a source names, before its images are looked at.

    Attributes:
        name: opens the same source again, from any folder.
        splits: images of "train", "val" and "test", those that there are; of "all" if nobody has split them.
        classes: names in label order, if the source states them; else those of the images, sorted.
        skipped: what can be no image, and why.
        left_out: what lies beside the data set and is no part of it: folders, files, splits.
        annotations: files that were read besides the images: annotations, lists, names.
        size: input side that suits the images, if the source knows.
        kind: what a class is there, as a message says it.
        root: the folder that it lies in, if that is not its name.
    """

    name: str
    splits: Mapping[str, Sequence[Item[R]]]
    classes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    left_out: tuple[Skipped, ...] = ()
    annotations: frozenset[Path] = frozenset()
    size: int | None = None
    kind: str = "class"
    root: Path | None = None

    @property
    def learned(self) -> str | None:
        """The split to learn from, if there is one."""
        return next((split for split in (TRAIN, ALL) if split in self.splits), None)

    @property
    def held_out(self) -> str | None:
        """The split to measure on, if there is one."""
        return next((split for split in (VAL, TEST) if split in self.splits), None)

    @property
    def place(self) -> str:
        """The folder that names of images are relative to."""
        return str(self.root or self.name)


@dataclass(frozen=True, eq=False, kw_only=True)
class BoxListing(Listing[RawAnnotations]):
    """What a detection data set names, before its images are looked at.

    Attributes:
        format: how it is written.
        unknown: how many boxes have each name or number that is no class.
    """

    format: Format
    unknown: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dataset(Generic[T]):
    """Images and what is known of each, in a fixed order.

    Attributes:
        sources: the images.
        targets: one class number, or the annotations, of each.
        groups: sizes of the runs of images that are fetched together, as those of a shard at a URL: whoever shuffles
            keeps them together; empty if any order costs the same.
    """

    sources: tuple[Source, ...]
    targets: tuple[T, ...]
    groups: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def of(cls, items: Iterable[tuple[Source, T]]) -> Dataset[T]:
        """Return the set of (image, target) pairs."""
        pairs = list(items)
        sources = tuple(source for source, _ in pairs)
        return cls(sources, tuple(target for _, target in pairs), _groups(sources))

    def pick(self, indices: Iterable[int]) -> Dataset[T]:
        """Return the images at ``indices``."""
        return Dataset.of((self.sources[i], self.targets[i]) for i in indices)


@dataclass(frozen=True, eq=False, kw_only=True)
class Data(ABC, Generic[T]):
    """Images to learn from and to measure on, every one of them known to be readable.

    Attributes:
        name: what ``open_data`` opens it by: ``digits``, a path, a pattern, a URL.
        classes: names, in label order.
        channels: 1 if every image is grey, else 3.
        size: input side that suits the images, in pixels.
        train: images to learn from.
        val: images held out.
        skipped: folders, files, splits and boxes that were left out.
        notes: what else is worth knowing before anybody learns from them, a sentence each.
        root: the folder that it lies in, if that is not its name.
        drawn_from: how many images those to learn from were drawn from; ``None`` if they are all that there are.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    train: Dataset[T]
    val: Dataset[T]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    root: Path | None = None
    drawn_from: int | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of every image's name (or pixels) and target: equal for equal sets, wherever their folder lies."""
        digest = hashlib.sha256(repr(self.classes).encode())
        root = self.root or Path(self.name)
        for split in (self.train, self.val):
            digest.update(self._opening(split))
            for source, target in zip(split.sources, split.targets, strict=True):
                digest.update(identity(source, root))
                for part in self._bytes(target):
                    digest.update(part)
        return digest.hexdigest()

    @abstractmethod
    def examples(self, count: int) -> list[tuple[int, str]]:
        """Return the places of a few held-out images to show, and a name for each."""

    def _opening(self, split: Dataset[T]) -> bytes:
        return b""

    @abstractmethod
    def _bytes(self, target: T) -> Iterator[bytes]:
        """Yield the bytes that tell a target from others."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassificationData(Data[int]):
    """Images with a class each; digits suit an input of 16 pixels, other images one of 32, 64 or 224."""

    def examples(self, count: int) -> list[tuple[int, str]]:
        """Return the first of each class, named like it."""
        places = [(self.val.targets.index(k), name) for k, name in enumerate(self.classes) if k in self.val.targets]
        return places[:count]

    def _bytes(self, target: int) -> Iterator[bytes]:
        yield b"%d;" % target


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionData(Data[Annotations]):
    """Images with boxes, each of which lies inside its image."""

    size: int = DETECTION_SIZE

    def examples(self, count: int) -> list[tuple[int, str]]:
        """Return the first ones, numbered."""
        return [(place, str(place)) for place in range(min(count, len(self.val)))]

    def _opening(self, split: Dataset[Annotations]) -> bytes:
        return b"part %d;" % len(split)  # as runs have it that are on disk

    def _bytes(self, target: Annotations) -> Iterator[bytes]:
        yield b"%d;" % len(target.labels)
        for values, dtype in zip((target.boxes, target.labels, target.crowd), _DTYPES, strict=True):
            yield values.astype(dtype).tobytes()


AnyData = Data[Any]


def in_splits(found: Mapping[str, Sequence[Item[R]]]) -> dict[str, Sequence[Item[R]]]:
    """Return the splits in their order, without those that have no image."""
    return {split: found[split] for split in (TRAIN, VAL, TEST, ALL) if found.get(split)}


def relative(path: Path, root: Path) -> Path:
    """Return a path as seen from a folder, or from the folder of a table; unchanged if it lies elsewhere."""
    for folder in (root, root.parent):
        if path.is_relative_to(folder):
            return path.relative_to(folder)
    return path


def identity(source: Source, root: Path) -> bytes:
    """Return the bytes that tell an image from others of its data set, the same on every machine."""
    if isinstance(source, np.ndarray):
        return source.tobytes()
    known = os.fsencode(relative(source, root).as_posix()) if isinstance(source, Path) else source.name.encode()
    return known + b"\0"


def group_of(source: Source) -> str:
    """Return what has to be fetched as a whole before an image can be read; empty for what lies here."""
    return "" if isinstance(source, (Path, np.ndarray)) else source.group


def origins_of(source: Source) -> tuple[Path | RemoteState, ...]:
    """Return the files that hold an image; none of an array."""
    if isinstance(source, np.ndarray):
        return ()
    return (source,) if isinstance(source, Path) else source.origins


def _groups(sources: Sequence[Source]) -> tuple[int, ...]:
    fetched = list(map(group_of, sources))
    return tuple(len(list(run)) for _, run in groupby(fetched)) if any(fetched) else ()
