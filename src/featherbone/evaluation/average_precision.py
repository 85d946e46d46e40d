"""How good a detector is: COCO's average precision, and what people ask besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from featherbone.data.dataset import Annotations, Skipped
from featherbone.errors import InputError, counted
from featherbone.evaluation.matching import ImageDetections, WorkingPoint, best_point, confusion, match
from featherbone.evaluation.report import Evaluation, percent

if TYPE_CHECKING:
    from faster_coco_eval import COCO


@dataclass(frozen=True)
class DetectionClassScore:
    """One class: in how many images it is, how many boxes it has, and how well they are found (0 to 1).

    ``ap`` and ``ap50`` are as in ``DetectionEvaluation``, ``None`` if it has no box.
    """

    name: str
    images: int
    boxes: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True, eq=False)
class DetectionEvaluation(Evaluation):
    """A detector on a set of images with boxes, by COCO's rules.

    At most 100 detections count for an image and class. Crowds are neither found nor missed. ``None`` stands where
    there is no box to be found.

    Attributes:
        ap: average precision, the mean over classes and over IoU 0.50, 0.55 ... 0.95.
        ap50: at IoU 0.5.
        ap75: at IoU 0.75.
        small: ``ap`` of boxes of less than 32 x 32 pixels; COCO's own uses the area of an outline, if it knows one.
        medium: of those up to 96 x 96.
        large: of the rest.
        recall: share of boxes that are found, the mean over classes and the same IoU.
        classes: scores per class, in label order.
        curves: ``(classes, 101)`` precision at IoU 0.5 where recall is 0, 0.01 ... 1; NaN if a class has no box.
        best: where F1 is best.
        confusion: counts ``(classes + 1, classes + 1)`` from the score of ``best`` on, at IoU 0.5; row true, column
            predicted. The last row is detections where no box is, the last column boxes that were not found.
        images: how many there are.
        skipped: files that could not be read.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    recall: float | None
    classes: tuple[DetectionClassScore, ...]
    curves: np.ndarray
    best: WorkingPoint
    confusion: np.ndarray
    images: int
    skipped: tuple[Skipped, ...] = ()

    @property
    def curve(self) -> np.ndarray:
        """The mean of the curves of all classes that have boxes, ``(101,)``."""
        known = ~np.isnan(self.curves[:, 0])
        return self.curves[known].mean(0) if known.any() else np.full(self.curves.shape[1], np.nan)

    @property
    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        rows = [(s.name, s.images, s.boxes, percent(s.ap), percent(s.ap50)) for s in self.classes]
        return ("class", "images", "boxes", "AP", "AP50"), list(rows)

    @property
    def facts(self) -> list[tuple[str, str]]:
        best = self.best
        areas = zip(("small", "medium", "large"), (self.small, self.medium, self.large), strict=True)
        return [
            ("images", str(self.images)),
            ("AP", percent(self.ap)),
            ("AP50", percent(self.ap50)),
            ("AP75", percent(self.ap75)),
            ("AP by area", ", ".join(f"{name} {percent(score)}" for name, score in areas)),
            (
                "best score to trust",
                f"{best.score:.2f} (precision {percent(best.precision)}, recall {percent(best.recall)})",
            ),
        ]

    @property
    def headline(self) -> float | None:
        return self.ap

    @classmethod
    def summary(cls, scores: Mapping[str, float], images: int) -> tuple[str, str]:
        ap, ap50, ap75 = (percent(scores[name]) for name in ("ap", "ap50", "ap75"))
        return "held-out AP", f"{ap}, AP50 {ap50}, AP75 {ap75} ({counted(images, 'image')})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        numbers = ("ap", "ap50", "ap75", "small", "medium", "large", "recall", "images")
        return {name: getattr(self, name) for name in numbers} | {
            "classes": [vars(score) for score in self.classes],
            "curves": [None if np.isnan(curve[0]) else curve.tolist() for curve in self.curves],
            "best": vars(self.best),
            "confusion": self.confusion.tolist(),
            "skipped": [vars(file) for file in self.skipped],
        }


def score_boxes(
    found: Sequence[ImageDetections],
    targets: Sequence[Annotations],
    classes: Sequence[str],
    *,
    skipped: tuple[Skipped, ...] = (),
) -> DetectionEvaluation:
    """Return how well the boxes of images were found.

    Args:
        found: the detections of every image.
        targets: the true boxes of every image, in the same pixels.
        classes: names, in label order.
        skipped: files that were left out before, to be carried into the result.

    Raises:
        InputError: if these are not for the same number of images, or for none.
    """
    if len(found) != len(targets) or not targets:
        raise InputError(
            f"detections of {len(found)} images and targets of {len(targets)} are not allowed: equal numbers, 1 or more"
        )
    found = [one.in_order() for one in found]
    precision, recall = _accumulated(found, targets, len(classes))
    matchings = [match(one, target) for one, target in zip(found, targets, strict=True)]
    best = best_point(found, targets, matchings)
    counted = [target.labels[~target.crowd] for target in targets]
    boxes = np.bincount(np.concatenate(counted), minlength=len(classes))
    images = np.bincount(np.concatenate([np.unique(labels) for labels in counted]), minlength=len(classes))
    return DetectionEvaluation(
        ap=_mean(precision[..., 0]),
        ap50=_mean(precision[0, ..., 0]),
        ap75=_mean(precision[5, ..., 0]),
        small=_mean(precision[..., 1]),
        medium=_mean(precision[..., 2]),
        large=_mean(precision[..., 3]),
        recall=_mean(recall),
        classes=tuple(
            DetectionClassScore(
                name, int(images[k]), int(boxes[k]), _mean(precision[:, :, k, 0]), _mean(precision[0, :, k, 0])
            )
            for k, name in enumerate(classes)
        ),
        curves=np.where(precision[0, :, :, 0] < 0, np.nan, precision[0, :, :, 0]).T,
        best=best,
        confusion=confusion(found, targets, best.score, len(classes)),
        images=len(targets),
        skipped=skipped,
    )


def _accumulated(
    found: Sequence[ImageDetections], targets: Sequence[Annotations], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return precision (IoU 10, recall 101, class, area 4) and recall (IoU 10, class), -1 where there is no box."""
    from faster_coco_eval import COCOeval_faster

    # their own COCO.loadRes fails where nothing is found: so detections become a data set, too
    detections = _as_coco(
        classes,
        [(one.boxes, one.labels, [{"score": float(score)} for score in one.scores]) for one in found],
    )
    known = _as_coco(
        classes,
        [(target.boxes, target.labels, [{"iscrowd": int(crowd)} for crowd in target.crowd]) for target in targets],
    )
    rating = COCOeval_faster(known, detections, "bbox")
    rating.evaluate()
    rating.accumulate()
    # the last of COCO's limits on detections: 100
    return rating.eval["precision"][..., -1], rating.eval["recall"][:, :, 0, -1]


def _as_coco(classes: int, images: Sequence[tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]]) -> COCO:
    from faster_coco_eval import COCO

    annotations: list[dict[str, Any]] = []
    for place, (boxes, labels, more) in enumerate(images):
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        sides = corners[:, 2:] - corners[:, :2]
        rows = np.concatenate([corners[:, :2], sides], 1).tolist()
        for box, label, known in zip(rows, labels.tolist(), more, strict=True):
            row = {"id": len(annotations) + 1, "image_id": place + 1, "category_id": label + 1, "bbox": box}
            annotations.append({"iscrowd": 0, **row, "area": box[2] * box[3], **known})
    return COCO(
        {
            "images": [{"id": place + 1} for place in range(len(images))],
            "annotations": annotations,
            "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
        }
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None
