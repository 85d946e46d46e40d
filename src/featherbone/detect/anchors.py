"""Anchors from the boxes of a data set: YOLO9000's clusters (arXiv 1612.08242 sec. 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from featherbone.errors import InputError

Anchors = tuple[tuple[tuple[float, float], ...], ...]  # for every scale, fine to coarse: widths and heights
_ROUNDS = 300


def shape_iou(sizes: Tensor, anchors: Tensor) -> Tensor:
    """Return intersection over union of widths and heights ``(N, 2)`` and ``(K, 2)``, as if at one place: ``(N, K)``.

    >>> shape_iou(torch.tensor([[2.0, 4.0]]), torch.tensor([[2.0, 4.0], [4.0, 2.0]]))
    tensor([[1.0000, 0.3333]])
    """
    shared = torch.minimum(sizes[:, None], anchors).prod(-1)
    return shared / (sizes.prod(-1)[:, None] + anchors.prod(-1) - shared)


def mean_best_iou(sizes: Tensor, anchors: Anchors) -> float:
    """Return how well anchors fit boxes of some widths and heights ``(N, 2)``: 1 if each has its own anchor.

    >>> mean_best_iou(torch.tensor([[10.0, 10.0], [10.0, 20.0]]), (((10, 10),),))
    0.75
    """
    flat = torch.tensor([shape for scale in anchors for shape in scale], dtype=torch.float64)
    return shape_iou(sizes.double(), flat).amax(1).mean().item()


def cluster_anchors(sizes: Tensor, levels: int, per_level: int, seed: int = 0) -> Anchors:
    """Return the anchors that fit boxes best: k-means with 1 - IoU as distance and medians as centres.

    No anchor is without a box, unless there are fewer different boxes than anchors: then the boxes themselves are
    anchors, and the others are these, larger and smaller by turns.

    Args:
        sizes: widths and heights ``(N, 2)`` in pixels of the input.
        levels: scales.
        per_level: anchors of each.
        seed: of the first centres.

    Returns:
        For every scale, fine to coarse, widths and heights; by rising area.

    Raises:
        InputError: if there is no box, or one without area.
    """
    if sizes.ndim != 2 or sizes.shape[1] != 2 or not len(sizes) or not bool((sizes > 0).all() & sizes.isfinite().all()):
        raise InputError(f"sizes of shape {tuple(sizes.shape)} is not allowed: (N, 2), one box or more, each above 0")
    if min(levels, per_level) < 1:
        raise InputError(f"levels={levels}, per_level={per_level} is not allowed: whole numbers, 1 or more")
    count, sizes = levels * per_level, sizes.detach().cpu().double()
    different = torch.unique(sizes, dim=0)
    centres = _widened(different, count) if len(different) <= count else _means(sizes, _spread(sizes, count, seed))
    rising = sorted(((w, h) for w, h in centres.tolist()), key=lambda shape: (shape[0] * shape[1], shape))
    return tuple(tuple(rising[i : i + per_level]) for i in range(0, count, per_level))


def _widened(sizes: Tensor, count: int) -> Tensor:
    found, factor = [sizes], 1.25
    while sum(map(len, found)) < count:
        found += [sizes * factor, sizes / factor]
        factor *= 1.25
    return torch.cat(found)[:count]


def _spread(sizes: Tensor, count: int, seed: int) -> Tensor:
    """Choose boxes as first centres, those more likely that are far from the ones before (k-means++)."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(sizes), (1,), generator=generator)
    for _ in range(count - 1):
        far = 1 - shape_iou(sizes, sizes[chosen]).amax(1)
        far[far < 1e-12] = 0  # boxes that are chosen already, but for rounding
        chosen = torch.cat((chosen, torch.multinomial(far, 1, generator=generator)))
    return sizes[chosen]


def _means(sizes: Tensor, centres: Tensor) -> Tensor:
    """Move centres until none moves; return the best without an empty cluster, which the first ones are."""
    best, kept = -1.0, centres
    for _ in range(_ROUNDS):
        fits, owner = shape_iou(sizes, centres).max(1)
        filled = owner.bincount(minlength=len(centres)) > 0
        if bool(filled.all()) and fits.mean().item() > best:
            best, kept = fits.mean().item(), centres
        moved = torch.stack(
            [sizes[owner == i].median(0).values if filled[i] else sizes[fits.argmin()] for i in range(len(centres))]
        )
        if torch.equal(moved, centres):
            break
        centres = moved
    return kept
