"""Boxes drawn round what is seen in images: what every source of them becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from featherbone.data.dataset import Skipped, Source, identity
from featherbone.data.names import ALL, TEST, TRAIN, VAL

Format = Literal["COCO", "Pascal VOC", "YOLO"]

NOWHERE = (np.nan, np.nan, np.nan, np.nan)  # the corners of what is annotated without a box
SIZE = 416  # of the input, in pixels, unless somebody says otherwise
_DTYPES = ("<f4", "<i8", "?")  # of a truth's arrays, so that they have the same bytes everywhere


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """What is to be found in an image.

    Attributes:
        boxes: ``(N, 4)`` float32: x1 y1 x2 y2 in pixels of the upright image.
        labels: ``(N,)`` int64.
        crowd: ``(N,)`` bool: round many things at once, or too hard to tell; not learnt, and ignored in scoring.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class BoxItem:
    """An image of a source and the boxes that are annotated on it, not yet compared with the image.

    Attributes:
        source: the image.
        truth: as annotated, in float64: boxes may lie anywhere or (NaN) nowhere, and have the label -1 if their class
            is not known.
        size: width and height of the image that was annotated, if they are stated.
        shares: the boxes are in shares of the width and height, not in pixels.
        annotated: somebody has said what is on it, be it nothing.
    """

    source: Path
    truth: Annotations
    size: tuple[int, int] | None = None
    shares: bool = False
    annotated: bool = True


@dataclass(frozen=True, eq=False)
class BoxListing:
    """What a detection data set names, before its images are looked at.

    Attributes:
        name: opens the same source again, from any folder.
        root: the folder that it lies in: no image is looked for outside.
        format: how it is written.
        parts: images of "train", "val" and "test", those that there are; of "all" if nobody has split them.
        classes: names in label order.
        skipped: what was left out, and why.
        unknown: how many boxes have each name or number that is no class.
    """

    name: str
    root: Path
    format: Format
    parts: Mapping[str, Sequence[BoxItem]]
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)

    @property
    def learnt(self) -> str | None:
        """The part to learn from, if there is one."""
        return next((part for part in (TRAIN, ALL) if part in self.parts), None)

    @property
    def held_out(self) -> str | None:
        """The part to measure on, if there is one."""
        return next((part for part in (VAL, TEST) if part in self.parts), None)


@dataclass(frozen=True, eq=False)
class BoxSet:
    """Images and what is to be found in them, in a fixed order.

    Attributes:
        sources: the images.
        truths: one each.
        groups: sizes of the runs of images that are fetched together, as in ``ImageSet``.
    """

    sources: tuple[Source, ...]
    truths: tuple[Annotations, ...]
    groups: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def boxes_per_image(self) -> float:
        """How many boxes an image has on average, without crowds, and 1 at least."""
        return max(1.0, sum(int((~truth.crowd).sum()) for truth in self.truths) / max(1, len(self)))

    @classmethod
    def of(cls, items: Iterable[tuple[Source, Annotations]]) -> BoxSet:
        """Return the set of (image, truth) pairs."""
        pairs = list(items)
        return cls(tuple(source for source, _ in pairs), tuple(truth for _, truth in pairs))

    def pick(self, indices: Iterable[int]) -> BoxSet:
        """Return the images at ``indices``."""
        return BoxSet.of((self.sources[i], self.truths[i]) for i in indices)


@dataclass(frozen=True, eq=False)
class BoxData:
    """A detection data set, every image of it known to be readable and every box to lie inside its image.

    Attributes:
        name: what ``open_boxes`` opens it by.
        classes: names, in label order.
        channels: 1 if every image is grey, else 3.
        train: images to learn from.
        val: images held out.
        skipped: files and boxes left out.
        size: input side that suits detectors, in pixels.
        root: the folder that it lies in, if that is not its name.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    train: BoxSet
    val: BoxSet
    skipped: tuple[Skipped, ...] = ()
    size: int = SIZE
    root: Path | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of every image's name, boxes and labels: equal for equal sets, wherever their folder lies."""
        digest = hashlib.sha256(repr(self.classes).encode())
        root = self.root or Path(self.name)
        for part in (self.train, self.val):
            digest.update(b"part %d;" % len(part))
            for source, truth in zip(part.sources, part.truths, strict=True):
                digest.update(identity(source, root))
                digest.update(b"%d;" % len(truth.labels))
                for values, dtype in zip((truth.boxes, truth.labels, truth.crowd), _DTYPES, strict=True):
                    digest.update(values.astype(dtype).tobytes())
        return digest.hexdigest()


def as_annotated(
    boxes: Sequence[Sequence[float]], labels: Sequence[int], crowd: Sequence[bool] | None = None
) -> Annotations:
    """Return the truth of an item: corners x1 y1 x2 y2 as they were written, labels, and which are crowds."""
    return Annotations(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(labels, np.int64),
        np.zeros(len(labels), bool) if crowd is None else np.array(crowd, bool),
    )


def in_parts(found: Mapping[str, Sequence[BoxItem]]) -> dict[str, Sequence[BoxItem]]:
    """Return the parts in their order, without those that have no image."""
    return {part: found[part] for part in (TRAIN, VAL, TEST, ALL) if found.get(part)}
