"""Files whose output is boxes: how the network's output becomes boxes, and when two lists of boxes count as equal.

Engines round differently. Where two scores, a score and the threshold, or an overlap and its limit are equal but for
rounding, their lists may differ by whole boxes, and by those that these would have suppressed: lists cannot be compared
one by one. But greedy suppression has exactly one result, the list in which no two boxes of a class overlap too much,
and every box that is missing overlaps one that is there and is at least as sure. So these two properties are checked,
with the tolerance at each comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from featherbone.errors import InputError

# pixels; smaller boxes are judged as if they had this side: they are placed relative to a cell, not to their own size
_SMALL = 10.0
# within which overlaps are the same: those of thin boxes are less certain than their edges
_OVERLAP = 1e-3


@dataclass(frozen=True)
class Postprocess:
    """How a network's output ``(B, N, 4 + classes)`` becomes a table ``(B, max_detections, 6)``.

    Attributes:
        score: probability from which a box counts.
        iou: overlap above which two boxes of one class mean the same object.
        max_detections: boxes of an image at most, and rows of the table.
        table: a function that does it in PyTorch, given the output, ``score``, ``iou`` and ``max_detections``.
    """

    score: float
    iou: float
    max_detections: int
    table: Callable[..., Tensor]

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: if one is out of range.
        """
        for name, share in (("score", self.score), ("iou", self.iou)):
            if not 0 <= share <= 1:
                raise InputError(f"{name}={share} is not allowed: from 0 to 1")
        if self.max_detections < 1:
            raise InputError(f"max_detections={self.max_detections} is not allowed: 1 or more boxes")

    def of(self, output: Tensor) -> Tensor:
        """Return the table."""
        return self.table(output, score=self.score, iou=self.iou, max_detections=self.max_detections)

    @property
    def above(self) -> float:
        """The limit for engines, which keep scores above one: the largest float32 below ``score``, or -1 for 0."""
        return float(np.nextafter(np.float32(self.score), np.float32(-1))) if self.score else -1.0

    @property
    def any_score(self) -> Postprocess:
        """The same without a score threshold, so that every image has boxes to compare."""
        return replace(self, score=0.0)


@dataclass(frozen=True)
class BoxReport:
    """Which boxes a file returns, and the proof that they are right.

    Attributes:
        score: probability from which a box counts.
        iou: overlap above which two boxes of one class mean the same object.
        max_detections: boxes of an image at most.
        boxes: how many were compared with the network's.
        edge_error: largest difference of an edge, in pixels of the input.
        score_error: largest difference of a probability.
        same: share of the images on which the list is the network's, box by box; the lists of the others differ in
            boxes that only rounding decides.
        alike: whether the network gives all images one and the same list, so that little is proven.
    """

    score: float
    iou: float
    max_detections: int
    boxes: int
    edge_error: float
    score_error: float
    same: float
    alike: bool

    def joined(self, other: BoxReport) -> BoxReport:
        """Return this report with the boxes and errors of another in it."""
        return replace(
            self,
            boxes=self.boxes + other.boxes,
            edge_error=max(self.edge_error, other.edge_error),
            score_error=max(self.score_error, other.score_error),
            alike=self.alike and other.alike,
        )

    @property
    def allowed(self) -> str:
        """Which boxes the file returns, in words."""
        most = f"at most {self.max_detections} boxes"
        return f"{most}, score {self.score:g} or more, overlap in a class {self.iou:g} or less"

    def __str__(self) -> str:
        wide = f"edges within {self.edge_error:.2g} pixels, scores within {self.score_error:.2g}"
        little = "; all images have one and the same list: this proves little" if self.alike else ""
        return f"{self.boxes} boxes compared: {wide}; the very same list on {self.same:.2%} of the images{little}"


def box_scale(output: Tensor) -> Tensor:
    """Return by what errors of ``(B, N, 4 + classes)`` are judged: a box by its longer side, a probability by 1.

    A box is judged by ten pixels at least.
    """
    sides = (output[..., 2:4] - output[..., :2]).amax(-1, keepdim=True).clamp(min=_SMALL)
    return torch.cat((sides.expand(*sides.shape[:-1], 4), torch.ones_like(output[..., 4:])), -1)


def compared(given: Tensor, output: Tensor, postprocess: Postprocess, tolerance: float) -> BoxReport:
    """Return how far the boxes of a file are from the network's.

    Args:
        given: tables ``(S, max_detections, 6)``.
        output: what the network returned for the same images, ``(S, N, 4 + classes)``.
        postprocess: what the file was to do.
        tolerance: largest allowed difference of a probability, and of an edge as a share of its box's longer side, or
            of ten pixels.

    Raises:
        InputError: if one is further away, a box is missing, or one is there that should not be.
    """
    if not bool(output.isfinite().all()):
        raise InputError("the network's own outputs hold values that are no numbers")
    count, edge_error, score_error = 0, 0.0, 0.0
    for number, (rows, image) in enumerate(zip(given, output, strict=True)):
        found = _ListedBoxes(rows, image, tolerance)
        problem = found.problem(postprocess)
        if problem:
            raise InputError(f"its boxes are not the network's: on image {number + 1} of {len(given)} {problem}")
        count += len(found.rows)
        edge_error, score_error = max(edge_error, found.edge_error), max(score_error, found.score_error)
    wanted = postprocess.of(output)
    near = tolerance * box_scale(wanted)
    same = ((given - wanted).abs() <= near).all(2).all(1).float().mean().item()
    alike = bool(((wanted - wanted[:1]).abs() <= near).all())
    return BoxReport(
        postprocess.score, postprocess.iou, postprocess.max_detections, count, edge_error, score_error, same, alike
    )


class _ListedBoxes:
    """The boxes of a table, each beside the nearest of the network's boxes.

    Args:
        table: ``(max_detections, 6)``.
        image: ``(N, 4 + classes)``.
        tolerance: as for ``compared``.
    """

    def __init__(self, table: Tensor, image: Tensor, tolerance: float) -> None:
        count = int(table.any(1).sum())
        self.rows, self.rest = table[:count], table[count:]
        self.boxes, self.probabilities, self.tolerance = image[:, :4], image[:, 4:], tolerance
        self.labels = self.rows[:, 5].long()
        self.known = self.labels.clamp(0, self.probabilities.shape[1] - 1)
        edges = (self.rows[:, None, :4] - self.boxes).abs().amax(2)  # (rows, N)
        scores = (self.rows[:, 4:5] - self.probabilities.T[self.known]).abs()
        self.distance, places = torch.maximum(edges / box_scale(image)[:, 0], scores).min(1)
        self.places = places
        self.edge_error, self.score_error = (
            float(errors.gather(1, places[:, None]).max()) if count else 0.0 for errors in (edges, scores)
        )

    def problem(self, postprocess: Postprocess) -> str:
        """Return why the list is not the result of suppression; empty if it is."""
        scores, alike = self.rows[:, 4], (self.labels[:, None] == self.labels).fill_diagonal_(fill_value=False)
        over = box_iou(self.rows[:, :4], self.rows[:, :4]) > postprocess.iou + _OVERLAP
        missing, far = self._missing(postprocess), max([0.0, *self.distance.tolist()])
        problems = (
            (self.rest.any() | ~self.rows.isfinite().all(), "there is a row of zeros before a box, or no number"),
            ((self.known != self.rows[:, 5]).any(), "there is a class that the network does not know"),
            (~(self.distance <= self.tolerance).all(), f"a box is {far:.2g} of its size, or its score, away"),
            ((scores[1:] > scores[:-1]).any(), "the best do not come first"),
            ((scores < postprocess.score - self.tolerance).any(), "there is a box under the threshold"),
            ((alike & over).any(), "two boxes of a class overlap too much"),
            (missing > 0, f"{missing} boxes are missing"),
        )
        return next((text for wrong, text in problems if wrong), "")

    def _missing(self, postprocess: Postprocess) -> int:
        """Return how many boxes are sure enough for the list, but neither in it nor suppressed by one in it."""
        least = self.rows[-1, 4] if len(self.rows) == postprocess.max_detections else -1.0
        missing = self.probabilities >= max(postprocess.score, float(least)) + self.tolerance  # (N, classes)
        missing[self.places, self.known] = False
        for label in missing.any(0).nonzero().flatten().tolist():
            there = self.rows[self.labels == label]
            over = box_iou(self.boxes, there[:, :4]) > max(0.0, postprocess.iou - _OVERLAP)  # (N, rows of the class)
            sure = there[:, 4] >= self.probabilities[:, label, None] - self.tolerance
            missing[:, label] &= ~(over & sure).any(1)
        return int(missing.sum())
