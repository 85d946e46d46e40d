"""What a detector is to learn: boxes, objectness and classes, as one number an image.

Every part is a sum over the predictions for an image, divided by what its true boxes weigh on average (1 for an
anchored head, their alignment for a free one), and by how many boxes an image of the data has, a constant. So a box
weighs the same alone as among many, and no image has a say in another's loss: the sum over images is the same however
a batch is shared by processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from featherbone.detect.assignment import Matches, Targets, align, nearest_anchors, paired_iou, well_fitting
from featherbone.detect.heads import AnchoredHead, BoxHead, FreeHead, joined
from featherbone.errors import InputError, nearest

BoxLoss = Literal["mse", "iou", "giou", "diou", "ciou"]
BOX_LOSSES: tuple[BoxLoss, ...] = get_args(BoxLoss)
_OVERLAP_GAIN = 5.0  # beside sums of cross entropies; the squared errors of YOLOv3 have 1


def detection_loss(
    head: BoxHead,
    raw: Sequence[Tensor],
    targets: Targets,
    size: tuple[int, int],
    *,
    box_loss: BoxLoss = "ciou",
    boxes_per_image: float = 1.0,
) -> Tensor:
    """Return the loss of every image, ``(B,)``: the sum of ``detection_parts``."""
    parts = detection_parts(head, raw, targets, size, box_loss=box_loss, boxes_per_image=boxes_per_image)
    return torch.stack(tuple(parts.values())).sum(0)


def detection_parts(
    head: BoxHead,
    raw: Sequence[Tensor],
    targets: Targets,
    size: tuple[int, int],
    *,
    box_loss: BoxLoss = "ciou",
    boxes_per_image: float = 1.0,
) -> dict[str, Tensor]:
    """Return the parts of the loss of every image, each ``(B,)``, in float32 or better: box, objectness, class.

    An image without true boxes teaches what background is, and no more.

    Args:
        head: the head that predicted.
        raw: its predictions for every scale.
        targets: the true boxes; one narrower than a pixel counts as a pixel wide.
        size: height and width of the input in pixels.
        box_loss: "mse" in the head's own coordinates, small boxes weighing more (YOLOv3); or 1 - IoU, GIoU, DIoU, CIoU.
        boxes_per_image: how many boxes an image has on average: a constant of the data, by which every loss is divided.

    Raises:
        InputError: if there is no such loss, or no positive number of boxes.
    """
    if box_loss not in BOX_LOSSES:
        raise InputError(
            f"box_loss={box_loss!r} is not allowed{nearest(box_loss, BOX_LOSSES)}: one of {', '.join(BOX_LOSSES)}"
        )
    if not boxes_per_image > 0:
        raise InputError(f"boxes_per_image={boxes_per_image!r} is not allowed: a number above 0")
    with torch.autocast(raw[0].device.type, enabled=False):
        predicted = joined(raw)
        parts = _parts(head, predicted, targets.like(predicted), size, box_loss)
        return {name: part / boxes_per_image for name, part in parts.items()}


def _parts(
    head: BoxHead, predicted: Tensor, targets: Targets, size: tuple[int, int], box_loss: BoxLoss
) -> dict[str, Tensor]:
    if isinstance(head, AnchoredHead):
        matches = nearest_anchors(head, targets, size)
        rest = _anchored(head, predicted, targets, matches, size)
    else:
        assert isinstance(head, FreeHead)
        with torch.no_grad():
            matches = align(head, predicted, targets, size)
        rest = _free(predicted, targets, matches)
    images = targets.images[matches.targets]
    box = _per_image(matches.weights * _box(head, predicted, targets, matches, size, box_loss), images, predicted)
    weights = _per_image(matches.weights, images, predicted).clamp(min=1)
    boxes = _per_image(torch.ones_like(targets.boxes[:, 0]), targets.images, predicted).clamp(min=1)
    return {name: part * (boxes / weights) for name, part in {"box": box, **rest}.items()}


def _box(
    head: BoxHead, predicted: Tensor, targets: Targets, matches: Matches, size: tuple[int, int], box_loss: BoxLoss
) -> Tensor:
    wanted = targets.boxes[matches.targets]
    priors = head.priors(size, predicted)[matches.predictions]
    given = predicted[targets.images[matches.targets], matches.predictions, :4]
    if box_loss != "mse":
        return _OVERLAP_GAIN * _overlap_loss(box_loss, head.decode(given, priors), wanted)
    errors = F.mse_loss(head.coordinates(given), head.encode(wanted, priors), reduction="none").sum(1) / 2
    share = (wanted[:, 2:] - wanted[:, :2]).prod(1) / (size[0] * size[1])
    return (2 - share) * errors


def _overlap_loss(box_loss: BoxLoss, boxes: Tensor, wanted: Tensor) -> Tensor:
    """Return how far boxes are from those that they should be, ``(P,)``."""
    from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

    if box_loss == "iou":
        return 1 - paired_iou(boxes, wanted)
    loss = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}[box_loss]
    return loss(boxes, wanted, reduction="none")


def _anchored(
    head: AnchoredHead, predicted: Tensor, targets: Targets, matches: Matches, size: tuple[int, int]
) -> dict[str, Tensor]:
    with torch.no_grad():
        counted = ~well_fitting(head, predicted, targets, size)
        wanted = torch.zeros_like(predicted[..., 4])
        wanted[targets.images, matches.predictions] = 1
        counted[targets.images, matches.predictions] = True
    objectness = F.binary_cross_entropy_with_logits(predicted[..., 4], wanted, reduction="none") * counted
    scores = predicted[targets.images, matches.predictions, 5:]
    classes = F.one_hot(targets.labels, head.num_classes).to(scores)
    errors = F.binary_cross_entropy_with_logits(scores, classes, reduction="none").sum(1)
    return {"objectness": objectness.sum(1), "class": _per_image(errors, targets.images, predicted)}


def _free(predicted: Tensor, targets: Targets, matches: Matches) -> dict[str, Tensor]:
    scores = predicted[..., 4:]
    wanted = torch.zeros_like(scores)
    wanted[targets.images[matches.targets], matches.predictions, targets.labels[matches.targets]] = matches.weights
    return {"class": F.binary_cross_entropy_with_logits(scores, wanted, reduction="none").sum((1, 2))}


def _per_image(values: Tensor, images: Tensor, predicted: Tensor) -> Tensor:
    # not index_add, whose order of sums a GPU decides anew each time
    mine = images == torch.arange(len(predicted), device=images.device)[:, None]
    return torch.where(mine, values, 0).sum(1)
