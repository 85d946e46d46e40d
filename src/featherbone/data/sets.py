"""Labelled images: what every source of data becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Source = Path | np.ndarray


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels, in a fixed order.

    Attributes:
        sources: what each image is read from.
        labels: of each.
        groups: sizes of the runs of images that are stored together; empty if each stands alone.
    """

    sources: tuple[Source, ...]
    labels: tuple[int, ...]
    groups: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, items: Sequence[tuple[Source, int]]) -> ImageSet:
        """Return the set of (image, label) pairs."""
        return cls(tuple(source for source, _ in items), tuple(label for _, label in items))

    def pick(self, indices: Iterable[int]) -> ImageSet:
        """Return the images at ``indices``."""
        chosen = list(indices)
        return ImageSet(tuple(self.sources[i] for i in chosen), tuple(self.labels[i] for i in chosen))


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageData:
    """A classification data set, every image of it known to be readable.

    Attributes:
        name: ``digits`` or the folder.
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
        """Digest of every image's name (or pixels) and label: equal for equal sets."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.val):
            for source, label in zip(part.sources, part.labels, strict=True):
                digest.update(source.tobytes() if isinstance(source, np.ndarray) else _relative(source, self.name))
                digest.update(b"%d;" % label)
        return digest.hexdigest()


def _relative(path: Path, root: str) -> bytes:
    return path.relative_to(root).as_posix().encode() + b"\0"
