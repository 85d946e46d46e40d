"""What is annotated on an image, compared with the image: every box that is kept lies inside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

from featherbone.data._box_dataset import Annotations, BoxItem
from featherbone.data.dataset import ImageInfo, Skipped, Source
from featherbone.data.image import UnreadableImageError, check_file, orientation_of, without_pillows_warnings
from featherbone.errors import first_line

# why a box is left out
LEFT_OUT = {
    "numbers": "without four finite numbers",
    "class": "of an unknown class",
    "empty": "without an area inside the image",
}


_BEYOND = 1.0  # pixels that a box may reach over the edge before anybody is told: formats count from 0 or 1

_TIFF_SIZE = (TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH)

# the EXIF orientations that exchange x and y (the others cannot be told from the sizes), and whether the new x and the
# new y count from the other side
_TURNS = {5: (False, False), 6: (True, False), 7: (True, True), 8: (False, True)}


@dataclass(frozen=True, slots=True, eq=False)
class BoxFit:
    """What is kept of an item's boxes.

    Attributes:
        truth: boxes that lie inside the image.
        places: which of the annotated boxes these are.
        faults: what is wrong with single boxes.
        turned: the boxes were annotated on the image as it is stored, and turned upright with it.
        resized: the image that was annotated had another size.
    """

    truth: Annotations
    places: np.ndarray
    faults: tuple[Fault, ...]
    turned: bool = False
    resized: bool = False


def glance(source: Source) -> tuple[int, int, int]:
    """Return the stored width and height and the EXIF orientation of an image that was decoded before.

    Raises:
        UnreadableImageError: if it is no image any more.
    """
    assert isinstance(source, Path), "annotation files name files"
    try:
        with without_pillows_warnings(), Image.open(check_file(source)) as image:
            orientation, (width, height) = orientation_of(image), image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose size is the upright one already
                width, height = (int(image.tag_v2[tag]) for tag in _TIFF_SIZE)
            return width, height, orientation
    except UnreadableImageError:
        raise
    except (OSError, SyntaxError, ValueError, LookupError) as error:
        raise UnreadableImageError(first_line(error)) from error


def seen_upright(source: Source) -> ImageInfo:
    """Return what ``glance`` tells of an image; its mode is not looked at.

    Raises:
        UnreadableImageError: if it is no image any more.
    """
    width, height, orientation = glance(source)
    across, down = (height, width) if orientation in _TURNS else (width, height)
    return ImageInfo(across, down, "RGB", turned=orientation in range(2, 9))


def fit(item: BoxItem, seen: ImageInfo) -> BoxFit:
    """Return the boxes of an item in pixels of its upright image, clipped to it, and what is wrong with them.

    If the size of the annotated image is that before EXIF turns it, so are the boxes, and they are turned with it.
    """
    size = np.array((seen.width, seen.height) * 2, np.float64)
    truth = item.truth
    turn = _turn(item, seen)
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = truth.boxes * size if item.shares else truth.boxes
        if turn:
            boxes = _turned(boxes, turn, seen)
        finite = np.isfinite(boxes).all(1)
        clipped = np.clip(np.where(finite[:, None], boxes, 0), 0, size)
        beyond = (np.abs(clipped - boxes) > _BEYOND).any(1)
        kept = clipped.astype(np.float32)
    solid = (kept[:, 2:] > kept[:, :2]).all(1)
    good = finite & (truth.labels >= 0) & solid
    kinds = np.select([~finite, truth.labels < 0, ~solid, beyond], [*LEFT_OUT, "outside"], "")
    return BoxFit(
        Annotations(kept[good], truth.labels[good], truth.crowd[good]),
        np.flatnonzero(good),
        tuple(Fault(str(kinds[i]), int(i) + 1, corners(boxes[i])) for i in np.flatnonzero(kinds != "")),
        turned=turn is not None,
        resized=turn is None and item.size is not None and item.size != (seen.width, seen.height),
    )


def _turn(item: BoxItem, seen: ImageInfo) -> tuple[bool, bool] | None:
    if seen.width == seen.height or not seen.turned or item.size != (seen.height, seen.width):
        return None
    return _TURNS.get(glance(item.source)[2])


def _turned(boxes: np.ndarray, turn: tuple[bool, bool], seen: ImageInfo) -> np.ndarray:
    y, x = boxes[:, 0::2], boxes[:, 1::2]
    x, y = (seen.width - x if turn[0] else x), (seen.height - y if turn[1] else y)
    # mirroring exchanges the corners; those that were the wrong way round stay so
    x, y = (x[:, ::-1] if turn[0] else x), (y[:, ::-1] if turn[1] else y)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a box of an image.

    Attributes:
        kind: "numbers", "class" or "empty" (which are left out), "outside" (cut off at the edge), "twice" or
            "two-classes" (in the same place as another).
        box: its place among the boxes that are annotated on the image, from 1.
        corners: as annotated, x1 y1 x2 y2 in pixels of the upright image.
    """

    kind: str
    box: int
    corners: tuple[float, float, float, float]


def corners(box: np.ndarray) -> tuple[float, float, float, float]:
    """Return a box as plain numbers."""
    x1, y1, x2, y2 = map(float, box)
    return x1, y1, x2, y2


def left_out(path: str, faults: Sequence[Fault]) -> Skipped | None:
    """Return how many boxes of an image are left out, and why; nothing if all are kept."""
    counts = Counter(fault.kind for fault in faults if fault.kind in LEFT_OUT)
    reasons = ", ".join(f"{count} {LEFT_OUT[kind]}" for kind, count in counts.items())
    return Skipped(f"{path} (boxes)", reasons) if counts else None
