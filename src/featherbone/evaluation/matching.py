"""Which detection found which box: the score from which detections are best trusted, and the confusion of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featherbone.data.boxes import overlaps
from featherbone.data.dataset import Annotations

_SAME = 0.5  # IoU from which a detection has found a box


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """What a detector found in an image.

    Attributes:
        boxes: ``(K, 4)`` x1 y1 x2 y2 in pixels of the upright image.
        scores: ``(K,)`` 0 to 1.
        labels: ``(K,)`` class numbers.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def in_order(self) -> ImageDetections:
        """Return the same, the surest first."""
        order = np.argsort(-self.scores, kind="stable")
        return ImageDetections(self.boxes[order], self.scores[order], self.labels[order])

    def above(self, score: float) -> ImageDetections:
        """Return the detections with at least this score."""
        kept = self.scores >= score
        return ImageDetections(self.boxes[kept], self.scores[kept], self.labels[kept])


@dataclass(frozen=True)
class WorkingPoint:
    """How well a detector does if it is trusted from some score on, at IoU 0.5, over all classes together.

    Attributes:
        score: the least score that is trusted.
        precision: share of the detections that are right.
        recall: share of the boxes that are found.
        f1: harmonic mean of both.
    """

    score: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Matching:
    """Which box each detection of an image found.

    Attributes:
        taken: ``(K,)`` place of the box among those of the image, -1 where there is none.
        excused: ``(K,)`` bool: found no box, but lies in a crowd, so that it is neither right nor false.
    """

    taken: np.ndarray
    excused: np.ndarray


def match(found: ImageDetections, target: Annotations) -> Matching:
    """Return which box each detection found.

    In the order in which they are given, each detection takes the box of its class with which its IoU is highest, among
    those that none before it took and that it covers with an IoU of 0.5.

    Args:
        found: the detections of an image, the surest first.
        target: its true boxes.
    """
    shared = overlaps(_corners(found), _corners(target))
    same = found.labels[:, None] == target.labels
    taken = _greedy(np.where(same & ~target.crowd, shared, 0))
    in_crowd = (_inside(found, target, shared) >= _SAME) & same & target.crowd
    return Matching(taken, (taken < 0) & in_crowd.any(1))


def best_point(
    found: Sequence[ImageDetections], targets: Sequence[Annotations], matchings: Sequence[Matching]
) -> WorkingPoint:
    """Return the point with the best F1; of equal ones, the one with the highest score.

    Which box a detection finds does not depend on less certain detections: so one matching serves all scores.
    """
    boxes = sum(int((~target.crowd).sum()) for target in targets)
    scores = np.concatenate([f.scores[~m.excused] for f, m in zip(found, matchings, strict=True)])
    right = np.concatenate([m.taken[~m.excused] >= 0 for m in matchings])
    if not len(scores):
        return WorkingPoint(0.0, 0.0, 0.0, 0.0)
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], right[order].cumsum()
    last = np.concatenate([scores[1:] != scores[:-1], [True]])  # equal scores are trusted together, or not at all
    count, hits, scores = np.arange(1, len(scores) + 1)[last], hits[last], scores[last]
    f1 = 2 * hits / (count + boxes)
    best = int(f1.argmax())
    return WorkingPoint(
        float(scores[best]), float(hits[best] / count[best]), float(hits[best] / max(boxes, 1)), float(f1[best])
    )


def confusion(
    found: Sequence[ImageDetections], targets: Sequence[Annotations], score: float, classes: int
) -> np.ndarray:
    """Return counts ``(classes + 1, classes + 1)``: row true, column predicted, last the background.

    Detections first find boxes of their own class, so that the diagonal is what counts as right; those that found none
    may then find a box of another class that nothing else found.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for one, target in zip(found, targets, strict=True):
        sure = one.above(score)
        matching = match(sure, target)
        free = ~target.crowd
        free[matching.taken[matching.taken >= 0]] = False
        left = (matching.taken < 0) & ~matching.excused
        others = _greedy(np.where(left[:, None] & free, overlaps(_corners(sure), _corners(target)), 0))
        taken = np.where(matching.taken < 0, others, matching.taken)
        hit = taken >= 0
        np.add.at(counts, (target.labels[taken[hit]], sure.labels[hit]), 1)
        np.add.at(counts, (classes, sure.labels[~hit & ~matching.excused]), 1)
        missed = ~target.crowd
        missed[taken[hit]] = False
        np.add.at(counts, (target.labels[missed], classes), 1)
    return counts


def _greedy(shared: np.ndarray) -> np.ndarray:
    """Return for every row, in order, the free column of its largest value; -1 where that is below ``_SAME``."""
    free = shared.copy()
    taken = np.full(len(free), -1)
    if not free.size:
        return taken
    for row in np.flatnonzero(free.max(1) >= _SAME):
        column = free[row].argmax()
        if free[row, column] >= _SAME:
            taken[row] = column
            free[:, column] = 0
    return taken


def _inside(found: ImageDetections, target: Annotations, shared: np.ndarray) -> np.ndarray:
    """Return the share of every detection's area that lies in every box, ``(K, N)``."""
    detected, boxes = ((one[:, 2:] - one[:, :2]).prod(1) for one in (_corners(found), _corners(target)))
    both = shared * (detected[:, None] + boxes) / (1 + shared)
    return both / np.maximum(detected[:, None], np.finfo(np.float64).tiny)


def _corners(boxes: ImageDetections | Annotations) -> np.ndarray:
    return np.asarray(boxes.boxes, np.float64).reshape(-1, 4)
