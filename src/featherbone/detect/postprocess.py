"""From what a detector returns to the boxes that count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from featherbone.errors import InputError, check_type, needs

# for exported files, and for what people are shown
SCORE_THRESHOLD, IOU_THRESHOLD, MAX_DETECTIONS = 0.25, 0.6, 100
_CANDIDATES = 3000  # the best of an image that are compared with each other


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in an image, best first.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels of the detector's input, ``(K, 4)``; they may stick out of the image.
        scores: probabilities, ``(K,)``.
        labels: numbers of the classes, ``(K,)``.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def postprocess(
    output: Tensor, *, score: float = 0.05, iou: float = 0.6, max_detections: int = 100
) -> list[Detections]:
    """Return the boxes of every image; of those of one class that overlap, the best.

    Args:
        output: what a detector returns, ``(B, N, 4 + num_classes)``.
        score: probability from which a box counts.
        iou: overlap above which two boxes of one class mean the same object.
        max_detections: boxes of an image at most.

    Raises:
        InputError: if the output has another form.
    """
    check_type("output", output, Tensor, "what a detector returns, (B, N, 4 + classes)")
    if output.ndim != 3 or output.shape[2] < 5:
        raise InputError(f"output of shape {tuple(output.shape)} is not allowed: (B, N, 4 + classes)")
    return [
        _of_image(image if image.dtype == torch.float64 else image.float(), score, iou, max_detections)
        for image in output
    ]


def _of_image(rows: Tensor, score: float, iou: float, max_detections: int) -> Detections:
    with needs("train", "suppressing boxes"):
        from torchvision.ops import batched_nms
    place, label = (rows[:, 4:] >= score).nonzero(as_tuple=True)
    scores, order = rows[place, 4 + label].sort(descending=True, stable=True)
    scores, order = scores[:_CANDIDATES], order[:_CANDIDATES]
    boxes, labels = rows[place[order], :4], label[order]
    # it takes classes apart by moving them further than the largest coordinate: none may be below zero
    beyond = boxes.amin().clamp(max=0) if len(boxes) else 0
    kept = batched_nms(boxes - beyond, scores, labels, iou)[:max_detections]
    return Detections(boxes[kept], scores[kept], labels[kept])


def table(
    output: Tensor, *, score: float = SCORE_THRESHOLD, iou: float = IOU_THRESHOLD, max_detections: int = MAX_DETECTIONS
) -> Tensor:
    """Return the boxes of every image as rows of x1, y1, x2, y2, score and class: ``(B, max_detections, 6)``.

    The best come first; rows of zeros follow the last one.

    Args:
        output: what a detector returns, ``(B, N, 4 + num_classes)``.
        score: as in ``postprocess``.
        iou: as in ``postprocess``.
        max_detections: rows.

    Raises:
        InputError: if the output has another form.
    """
    found = postprocess(output, score=score, iou=iou, max_detections=max_detections)
    rows = [torch.cat((one.boxes, one.scores[:, None], one.labels[:, None].to(one.boxes)), 1) for one in found]
    return torch.stack([pad(row, (0, 0, 0, max_detections - len(row))) for row in rows])
