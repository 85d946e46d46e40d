"""What the page of a detector's run says of the held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featherbone.data.dataset import Annotations
from featherbone.data.scan import shown
from featherbone.data.thumbnails import thumbnail
from featherbone.evaluation.average_precision import DetectionEvaluation
from featherbone.evaluation.detection import DetectorOutputs
from featherbone.evaluation.matching import ImageDetections, Matching, confusion, match

_PICTURED = 24  # images with a picture
_SIDE = 360  # its pixels: boxes are to be seen in it
_NAMED = 2000  # images with a name
_FULL = 100  # classes whose curves are kept in full
_SCORES = ("ap", "ap50", "ap75", "small", "medium", "large", "recall")


@dataclass(frozen=True, eq=False)
class _ImageOutcome:
    """An image with the detections that are trusted, its true boxes, and which of them found which.

    Attributes:
        place: of the image in the set.
        sure: the trusted detections.
        target: the true boxes.
        matching: which box each of the detections found.
    """

    place: int
    sure: ImageDetections
    target: Annotations
    matching: Matching

    @property
    def right(self) -> np.ndarray:
        """Which of the trusted detections found a box, ``(K,)``."""
        return self.matching.taken >= 0

    @property
    def false(self) -> np.ndarray:
        """Which found none and should have, ``(K,)``."""
        return ~self.right & ~self.matching.excused

    @property
    def found(self) -> np.ndarray:
        """Which of the boxes were found, ``(N,)``."""
        found = np.zeros(len(self.target.labels), bool)
        found[self.matching.taken[self.right]] = True
        return found

    @property
    def missed(self) -> np.ndarray:
        """Which were not found and should have been, ``(N,)``."""
        return ~self.found & ~self.target.crowd

    @property
    def errors(self) -> int:
        """How many detections are false and boxes missed."""
        return int(self.false.sum() + self.missed.sum())


def detection_values(outputs: DetectorOutputs, root: str) -> dict[str, Any]:
    """Return plain values: scores, curves, confusion, the worst images; they are named relative to ``root``."""
    evaluation = outputs.evaluation()
    score, classes = evaluation.best.score, len(outputs.classes)
    outcomes = [
        _ImageOutcome(place, sure := found.in_order().above(score), target, match(sure, target))
        for place, (found, target) in enumerate(zip(outputs.found, outputs.images.targets, strict=True))
    ]
    worst = sorted((one for one in outcomes if one.errors), key=lambda one: -one.errors)
    return {
        "images": len(outputs.images),
        "labels": [*outputs.classes, "nothing"],  # of the confusion
        "counted": ["box", "boxes"],
        "scores": {name: getattr(evaluation, name) for name in _SCORES},
        "best": vars(evaluation.best),
        "classes": [[s.images, s.boxes, s.ap, s.ap50] for s in evaluation.classes],
        "confusion": _cells(evaluation.confusion),
        "curves": _curves(evaluation),
        "trusted": _trusted(outputs, score),
        "faulty": len(worst),
        "worst": [
            _told(one, outputs, root, classes, pictured=number < _PICTURED) for number, one in enumerate(worst[:_NAMED])
        ],
    }


def _cells(counts: np.ndarray) -> list[list[int]]:
    """Return row, column and count of what is not zero."""
    return [[*cell, int(counts[tuple(cell)])] for cell in np.argwhere(counts).tolist()]


def _curves(evaluation: DetectionEvaluation) -> dict[str, Any]:
    """Return precision where recall is 0 ... 1, of every class and on average; of many classes at fewer places."""
    step = 1 if len(evaluation.classes) <= _FULL else 10
    recalls = np.linspace(0, 1, evaluation.curves.shape[1])[::step]
    mean, *each = (
        None if np.isnan(curve[0]) else curve[::step].round(4).tolist()
        for curve in (evaluation.curve, *evaluation.curves)
    )
    return {"recalls": recalls.round(4).tolist(), "mean": mean, "curves": each}


def _trusted(outputs: DetectorOutputs, best: float) -> dict[str, Any]:
    """Return precision, recall and F1 of all classes together, for every score from which detections may be trusted."""
    targets = outputs.images.targets
    boxes = sum(int((~target.crowd).sum()) for target in targets)
    found = [one.in_order() for one in outputs.found]
    matchings = [match(one, target) for one, target in zip(found, targets, strict=True)]
    said = np.concatenate([one.scores[~m.excused] for one, m in zip(found, matchings, strict=True)])
    hits = np.concatenate([one.scores[m.taken >= 0] for one, m in zip(found, matchings, strict=True)])
    scores = np.unique([*np.linspace(0, 1, 101).round(2), best])
    detected, right = (len(values) - np.sort(values).searchsorted(scores) for values in (said, hits))
    rows = [
        [n / of if of else None for n, of in ((r, a), (r, boxes), (2 * r, a + boxes))]
        for a, r in zip(detected.tolist(), right.tolist(), strict=True)
    ]
    return {"scores": scores.tolist(), "rows": rows}


def _told(one: _ImageOutcome, outputs: DetectorOutputs, root: str, classes: int, *, pictured: bool) -> dict[str, Any]:
    """Return the counts of an image and, if it is pictured, a thumbnail and its boxes."""
    source = outputs.images.sources[one.place]
    told = {
        "image": shown(source, root, one.place),
        "missed": int(one.missed.sum()),
        "imagined": int(one.false.sum()),
        "right": int(one.right.sum()),
        "cells": [cell[:2] for cell in _cells(confusion([one.sure], [one.target], 0.0, classes))],
    }
    if not pictured:
        return told
    return told | thumbnail(source, _SIDE) | {"boxes": _boxes(one)}


def _boxes(one: _ImageOutcome) -> list[list[Any]]:
    """Return kind, label, score, left, top, width and height of every box."""
    detections = (("right", one.right), ("false", one.false))
    targets = (("missed", one.missed), ("true", one.found))
    return [
        *(
            _row(kind, one.sure, i, float(one.sure.scores[i]))
            for kind, those in detections
            for i in np.flatnonzero(those).tolist()
        ),
        *(_row(kind, one.target, i, None) for kind, those in targets for i in np.flatnonzero(those).tolist()),
    ]


def _row(kind: str, those: ImageDetections | Annotations, i: int, score: float | None) -> list[Any]:
    x1, y1, x2, y2 = (round(float(edge), 1) for edge in those.boxes[i])
    sides = (round(x2 - x1, 1), round(y2 - y1, 1))
    return [kind, int(those.labels[i]), score and round(score, 4), x1, y1, *sides]
