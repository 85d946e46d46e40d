"""Which predictions are to learn which true box.

Everything here works on *pairs* of a true box and a prediction for its image, over the whole batch at once. Only near
pairs are looked at, so that thousands of predictions and a hundred boxes an image cost little.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from featherbone.detect.anchors import shape_iou
from featherbone.detect.heads import AnchoredHead, FreeHead
from featherbone.errors import InputError

IGNORED_IOU = 0.7  # YOLOv3's code: a prediction that fits so well is not taught that it sees background
ALPHA, BETA, MOST = 1.0, 6.0, 13  # TOOD (arXiv 2108.07755 sec. 4.1)
_PAIRS = 1 << 22  # that are compared at once: memory must not grow with the boxes of a batch times its predictions
_LEAST_WEIGHT = 0.5  # ours: a box that nothing meets yet is learned all the same, or small ones come late


@dataclass(frozen=True, eq=False)
class Targets:
    """The true boxes of a batch, those of all images in one list; crowds are not among them.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels of the input, ``(T, 4)``.
        labels: numbers of their classes, ``(T,)`` int64.
        images: their images' places in the batch, ``(T,)`` int64.
    """

    boxes: Tensor
    labels: Tensor
    images: Tensor

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            InputError: if they do not fit each other.
        """
        count = len(self.labels)
        if self.boxes.shape != (count, 4) or self.labels.shape != (count,) or self.images.shape != (count,):
            shapes = ", ".join(str(tuple(part.shape)) for part in (self.boxes, self.labels, self.images))
            raise InputError(f"boxes, labels and images of shapes {shapes} are not allowed: (T, 4), (T,), (T,)")

    def like(self, predicted: Tensor) -> Targets:
        """Return them where ``predicted`` is, each at least a pixel wide and high, so that every loss is finite."""
        boxes = self.boxes.to(predicted)
        boxes = torch.cat((boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)), 1)
        return Targets(boxes, self.labels.to(predicted.device), self.images.to(predicted.device))


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of a true box and a prediction that is to learn it.

    Attributes:
        targets: the boxes' places in the list of all, ``(P,)``.
        predictions: the predictions' places in their image's, ``(P,)``.
        weights: how much they count, above 0 to 1, ``(P,)``.
    """

    targets: Tensor
    predictions: Tensor
    weights: Tensor


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return intersection over union of every box with the other at its place, ``(P, 4)`` twice to ``(P,)``.

    >>> paired_iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]]))
    tensor([0.3333])
    """
    shared = torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])
    intersection = shared.clamp(min=0).prod(1)
    areas = [(one[:, 2:] - one[:, :2]).prod(1) for one in (boxes, others)]
    return intersection / (areas[0] + areas[1] - intersection)


def nearest_anchors(head: AnchoredHead, targets: Targets, size: tuple[int, int]) -> Matches:
    """Return one prediction a box: of the anchor whose shape fits best over all scales, in the centre's cell."""
    boxes, device = targets.boxes, targets.boxes.device
    per_cell = head.per_cell
    best = shape_iou(boxes[:, 2:] - boxes[:, :2], head.shapes.to(boxes).flatten(0, 1)).argmax(1)
    level, anchor = best // per_cell, best % per_cell
    grids = [(size[0] // stride, size[1] // stride) for stride in head.strides]
    first = torch.tensor([0, *(high * wide * per_cell for high, wide in grids)], device=device).cumsum(0)
    last = torch.tensor([(wide - 1, high - 1) for high, wide in grids], device=device)[level]
    strides = torch.tensor(head.strides, device=device)[level]
    cell = ((boxes[:, :2] + boxes[:, 2:]) / 2 / strides[:, None]).floor().long().clamp(min=0).minimum(last)
    where = first[level] + (cell[:, 1] * (last[:, 0] + 1) + cell[:, 0]) * per_cell + anchor
    return Matches(torch.arange(len(boxes), device=device), where, torch.ones_like(boxes[:, 0]))


def well_fitting(head: AnchoredHead, predicted: Tensor, targets: Targets, size: tuple[int, int]) -> Tensor:
    """Return which predictions ``(B, N)`` overlap a true box of their image by more than ``IGNORED_IOU``."""
    priors = head.priors(size, predicted)
    # above an IoU of 1/2 the prediction's centre lies in the true box, and so a part of its cell does
    target, where = _touching(targets.boxes, priors[:, :2], priors[:, :2] + priors[:, 2:3])
    image = targets.images[target]
    fits = paired_iou(head.decode(predicted[..., :4][image, where], priors[where]), targets.boxes[target]) > IGNORED_IOU
    found = predicted.new_zeros(predicted.shape[:2], dtype=torch.bool)
    found[image[fits], where[fits]] = True
    return found


def align(head: FreeHead, predicted: Tensor, targets: Targets, size: tuple[int, int]) -> Matches:
    """Return for every true box the predictions, of cells with their centre in it, that score its class and fit best.

    *Alignment* is score^ALPHA * IoU^BETA. A box claims the MOST that are aligned best; what several claim goes to one
    whose best it is, if there is one, and then to the one it is aligned with best. A box that contains no centre claims
    the nearest. A weight is the alignment, as a share of its box's highest, times the box's highest IoU, 1/2 at least
    (TOOD, arXiv 2108.07755 sec. 3.2; that a box's best is not taken by others is ours: small boxes in large ones would
    be left with nothing).
    """
    priors = head.priors(size, predicted)
    target, where = _claims(targets.boxes, priors[:, :2])
    image = targets.images[target]
    overlap = paired_iou(head.decode(predicted[..., :4][image, where], priors[where]), targets.boxes[target])
    score = F.logsigmoid(predicted[image, where, 4 + targets.labels[target]])
    alignment = ALPHA * score + BETA * overlap.clamp(min=1e-6).log()  # a logarithm: IoU^6 would soon be zero
    kept = _best(alignment, target, len(targets.boxes))
    cell = image * predicted.shape[1] + where
    first = alignment[kept] == _highest(alignment, target, len(targets.boxes))[target[kept]]
    reserved = torch.zeros(predicted.shape[0] * predicted.shape[1], dtype=torch.bool, device=cell.device)
    reserved[cell[kept[first]]] = True
    kept = kept[first | ~reserved[cell[kept]]]
    highest = _highest(alignment[kept], cell[kept], len(reserved))
    kept = kept[alignment[kept] == highest[cell[kept]]]
    target, where, alignment, overlap = target[kept], where[kept], alignment[kept], overlap[kept]
    share = (alignment - _highest(alignment, target, len(targets.boxes))[target]).exp()
    reached = _highest(overlap, target, len(targets.boxes))[target].clamp(min=_LEAST_WEIGHT)
    return Matches(target, where, share * reached)


def _touching(boxes: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of boxes ``(T, 4)`` and rectangles with corners ``(N, 2)`` that touch."""

    def near(some: Tensor) -> Tensor:
        found = torch.ones(len(some), len(low), dtype=torch.bool, device=boxes.device)
        for axis in (0, 1):
            found &= (low[:, axis] <= some[:, 2 + axis, None]) & (high[:, axis] >= some[:, axis, None])
        return found.nonzero()

    step = _at_once(len(low))
    pairs = [near(boxes[i : i + step]) + boxes.new_tensor((i, 0), dtype=torch.long) for i in _starts(boxes, step)]
    target, where = torch.cat(pairs).unbind(1)
    return target, where


def _claims(boxes: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return pairs of boxes and centres inside; for a box without one, its nearest."""
    target, where = _touching(boxes, centres, centres)
    bare = (target.bincount(minlength=len(boxes)) == 0).nonzero().flatten()
    middles, step = (boxes[bare, :2] + boxes[bare, 2:]) / 2, _at_once(len(centres))
    nearest = [(middles[i : i + step, None] - centres).square().sum(-1).argmin(1) for i in _starts(middles, step)]
    return torch.cat((target, bare)), torch.cat((where, *nearest))


def _at_once(count: int) -> int:
    """Return how many boxes are compared with so many places at a time."""
    return max(1, _PAIRS // max(1, count))


def _starts(boxes: Tensor, step: int) -> range:
    return range(0, max(1, len(boxes)), step)


def _best(alignment: Tensor, target: Tensor, count: int) -> Tensor:
    """Return the places of the MOST best pairs of every true box."""
    order = alignment.argsort(descending=True, stable=True)
    order = order[target[order].argsort(stable=True)]  # box by box, the best first
    pairs = target.bincount(minlength=count)
    rank = torch.arange(len(order), device=order.device) - (pairs.cumsum(0) - pairs)[target[order]]
    return order[rank < MOST]


def _highest(values: Tensor, groups: Tensor, count: int) -> Tensor:
    return values.new_full((count,), -torch.inf).scatter_reduce(0, groups, values, "amax")
