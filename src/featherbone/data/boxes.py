"""Boxes of an image: what can be wrong with them, how they fit the image, how far they overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from featherbone.data.dataset import Annotations, Dataset, ImageInfo, Item, RawAnnotations, Skipped
from featherbone.errors import counted, some

Severity = Literal["error", "warning"]
_BEYOND = 1.0  # pixels that a box may reach over the edge before anybody is told: formats count from 0 or 1

_MOST_TOLD = 5  # other reasons in one sentence
NOWHERE = (np.nan, np.nan, np.nan, np.nan)  # the corners of what is annotated without a box


class IssueKind(NamedTuple):
    """A kind of thing that can be wrong with a box.

    Attributes:
        severity: "error" if training on it would be a mistake.
        text: what a finding says after the number of boxes.
        title: heading of the images that show it.
        reason: why the box is left out; empty if it is kept.
    """

    severity: Severity
    text: str
    title: str
    reason: str = ""


def _left_out(severity: Severity, reason: str, title: str) -> IssueKind:
    return IssueKind(severity, f"{reason}, left out", title, reason)


# the most severe first
ISSUES: Mapping[str, IssueKind] = {
    "numbers": _left_out("error", "without four finite numbers", "Boxes without four finite numbers"),
    "class": _left_out("error", "of an unknown class", "Boxes of unknown classes"),
    "two-classes": IssueKind(
        "error", "in the same place as one of another class: only one can be right", "One place, two classes"
    ),
    "empty": _left_out("warning", "without an area inside the image", "Boxes without an area inside the image"),
    "twice": IssueKind(
        "warning", "there more than once: same class, same place", "Boxes that are there more than once"
    ),
    "outside": IssueKind(
        "warning", "cut off at the edge of the image, beyond which they reach", "Boxes that reach over the edge"
    ),
}


@dataclass(frozen=True, slots=True)
class BoxIssue:
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


@dataclass(frozen=True, slots=True, eq=False)
class BoxFit:
    """What is kept of an item's boxes.

    Attributes:
        annotations: boxes that lie inside the image.
        places: which of the annotated boxes these are.
        issues: what is wrong with single boxes.
        turned: the boxes were annotated on the image as it is stored, and turned upright with it.
        resized: the image that was annotated had another size.
    """

    annotations: Annotations
    places: np.ndarray
    issues: tuple[BoxIssue, ...]
    turned: bool = False
    resized: bool = False


def fit(item: Item[RawAnnotations], info: ImageInfo) -> BoxFit:
    """Return the boxes of an item in pixels of its upright image, clipped to it, and what is wrong with them.

    If the size of the annotated image is that before EXIF turns it, so are the boxes, and they are turned with it.
    """
    size = np.array((info.width, info.height) * 2, np.float64)
    raw, given = item.target, item.target.annotations
    turn = _turn(item, info)
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = given.boxes * size if raw.shares else given.boxes
        if turn:
            boxes = _turned(boxes, turn, info)
        finite = np.isfinite(boxes).all(1)
        clipped = np.clip(np.where(finite[:, None], boxes, 0), 0, size)
        beyond = (np.abs(clipped - boxes) > _BEYOND).any(1)
        kept = clipped.astype(np.float32)
    solid = (kept[:, 2:] > kept[:, :2]).all(1)
    good = finite & (given.labels >= 0) & solid
    kinds = np.select([~finite, given.labels < 0, ~solid, beyond], ["numbers", "class", "empty", "outside"], "")
    return BoxFit(
        Annotations(kept[good], given.labels[good], given.crowd[good]),
        np.flatnonzero(good),
        tuple(BoxIssue(str(kinds[i]), int(i) + 1, corners(boxes[i])) for i in np.flatnonzero(kinds != "")),
        turned=turn is not None,
        resized=turn is None and raw.size is not None and raw.size != (info.width, info.height),
    )


def _turn(item: Item[RawAnnotations], info: ImageInfo) -> tuple[bool, bool] | None:
    if info.width == info.height or not info.turned or item.target.size != (info.height, info.width):
        return None
    from featherbone.data.image import TURNS, glance

    return TURNS.get(glance(item.source)[2])


def _turned(boxes: np.ndarray, turn: tuple[bool, bool], info: ImageInfo) -> np.ndarray:
    y, x = boxes[:, 0::2], boxes[:, 1::2]
    x, y = (info.width - x if turn[0] else x), (info.height - y if turn[1] else y)
    # mirroring exchanges the corners; those that were the wrong way round stay so
    x, y = (x[:, ::-1] if turn[0] else x), (y[:, ::-1] if turn[1] else y)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def corners(box: np.ndarray) -> tuple[float, float, float, float]:
    """Return a box as plain numbers."""
    x1, y1, x2, y2 = map(float, box)
    return x1, y1, x2, y2


@dataclass(frozen=True)
class SkippedBoxes(Skipped):
    """Boxes of an image that were left out; the image was not.

    Attributes:
        boxes: how many, by the kind of what is wrong with them.
    """

    boxes: Mapping[str, int] = field(default_factory=dict, hash=False)


def left_out(path: str, issues: Sequence[BoxIssue]) -> Skipped | None:
    """Return how many boxes of an image are left out, and why; nothing if all are kept."""
    counts = Counter(issue.kind for issue in issues if ISSUES[issue.kind].reason)
    reasons = ", ".join(f"{count} {ISSUES[kind].reason}" for kind, count in counts.items())
    return SkippedBoxes(f"{path} (boxes)", reasons, boxes=dict(counts)) if counts else None


def why_left_out(skipped: Sequence[Skipped], unknown: Mapping[str, int]) -> str:
    """Return in brackets why boxes of a data set are left out, each reason with its count; nothing if none are."""
    different = dict.fromkeys(skipped)
    counts = sum((Counter(one.boxes) for one in different if isinstance(one, SkippedBoxes)), Counter[str]())
    said = [f"{one.path}: {one.reason}" for one in different if not isinstance(one, SkippedBoxes)]
    reasons = [f"{counted(count, 'box', 'boxes')} {ISSUES[kind].reason}" for kind, count in counts.items()]
    if unknown:
        reasons.append("unknown: " + some([f"{name} ({count})" for name, count in unknown.items()]))
    told = [*reasons, *said[:_MOST_TOLD], *([f"and {len(said) - _MOST_TOLD} more"] if len(said) > _MOST_TOLD else [])]
    return f" (left out: {'; '.join(told)})" if told else ""


def as_annotated(
    boxes: Sequence[Sequence[float]], labels: Sequence[int], crowd: Sequence[bool] | None = None
) -> Annotations:
    """Return boxes as they were written: corners x1 y1 x2 y2, labels, and which are crowds."""
    return Annotations(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(labels, np.int64),
        np.zeros(len(labels), bool) if crowd is None else np.array(crowd, bool),
    )


def boxes_per_image(images: Dataset[Annotations]) -> float:
    """Return how many boxes an image has on average, without crowds, and 1 at least."""
    return max(1.0, sum(int((~one.crowd).sum()) for one in images.targets) / max(1, len(images)))


def without_crowds(annotations: Annotations) -> Annotations:
    """Return the boxes that can be learned from."""
    single = ~annotations.crowd
    return Annotations(annotations.boxes[single], annotations.labels[single], annotations.crowd[single])


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of ``(N, 4)`` and ``(M, 4)`` boxes, ``(N, M)``; 0 where neither has an area.

    >>> overlaps(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [5, 5, 6, 6]])).round(2)
    array([[0.33, 0.  ]])
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = (high - low).clip(0).prod(2)
    areas, other_areas = ((one[:, 2:] - one[:, :2]).prod(1) for one in (boxes, others))
    union = areas[:, None] + other_areas[None] - common
    return np.divide(common, union, out=np.zeros(common.shape), where=union > 0)
