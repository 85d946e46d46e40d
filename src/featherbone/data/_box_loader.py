"""Images with boxes as batches.

As in ``data.loading``, what an epoch shows depends on the seed and the epoch alone, and any batch of it can be made
again by itself: the images that share a mosaic are drawn from the same numbers as everything else.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from featherbone.data._box_dataset import Annotations, BoxSet
from featherbone.data.box_transforms import BoxTransform, Example
from featherbone.data.image import image_mode, read_again
from featherbone.data.loader import Loader, loading
from featherbone.data.sampler import drawing_from, epoch_batches, mixed_seed

_STEP = 32  # pixels: the coarsest stride of a detector's maps


class BoxTargets(NamedTuple):
    """What is to be found in a batch of images.

    Crowds are left out: nobody can learn from them. Whoever scores answers finds them in the set, by ``places``.

    Attributes:
        boxes: ``(N, 4)`` float32: x1 y1 x2 y2 in pixels of the input.
        labels: ``(N,)`` int64.
        images: ``(N,)`` int64: which image of the batch each box is in.
        places: ``(B,)`` int64: where each image stands in its set.
        sizes: ``(B, 2)`` int64: width and height of each upright image, in its own pixels.
    """

    boxes: Tensor
    labels: Tensor
    images: Tensor
    places: Tensor
    sizes: Tensor

    def to(self, device: torch.device | str) -> BoxTargets:
        """Return the same on another device."""
        return BoxTargets(*(part.to(device) for part in self))


Prepared = tuple[Tensor, Tensor, Tensor, int, tuple[int, int]]


class BoxBatches(Dataset[Prepared]):
    """Images of a set and their boxes, transformed. An index is ``(epoch, i)``, as in ``Batches``."""

    def __init__(self, images: BoxSet, transform: BoxTransform, channels: int, seed: int = 0) -> None:
        self.images = images
        self.transform = transform
        self.mode = image_mode(channels)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: tuple[int, int]) -> Prepared:
        epoch, i = index
        image, truth = self._read(i)
        with drawing_from(self.seed, epoch, i):
            return *self.transform(image, truth, self._another), i, image.size

    def _another(self) -> Example:
        return self._read(int(torch.randint(len(self.images), ())))

    def _read(self, i: int) -> tuple[Image.Image, Annotations]:
        truth = self.images.truths[i]
        learnt = ~truth.crowd
        return read_again(self.images.sources[i], self.mode), Annotations(
            truth.boxes[learnt], truth.labels[learnt], truth.crowd[learnt]
        )


def box_loader(
    images: BoxSet,
    transform: BoxTransform,
    *,
    channels: int,
    batch_size: int,
    workers: int,
    shuffle: bool = False,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Loader:
    """Return a loader of ``(images (B, C, size, size), BoxTargets)``; see ``epoch_batches`` for the order."""
    order = epoch_batches(images, batch_size, shuffle=shuffle, seed=seed, rank=rank, world=world)
    return loading(BoxBatches(images, transform, channels, seed), order, workers, _together)


def _together(examples: list[Prepared]) -> tuple[Tensor, BoxTargets]:
    """Return the examples of a batch as one."""
    pixels, boxes, labels, places, sizes = zip(*examples, strict=True)
    images = [torch.full((len(some),), place, dtype=torch.int64) for place, some in enumerate(labels)]
    return torch.stack(pixels), BoxTargets(
        torch.cat(boxes), torch.cat(labels), torch.cat(images), torch.tensor(places), torch.tensor(sizes)
    )


def drawn_side(side: int, share: float, *, seed: int, epoch: int, batch: int) -> int:
    """Return a side for a batch that is trained at several scales, the same in every process.

    Args:
        side: the usual one, in pixels.
        share: how far the drawn one may be away, as a share of it; it is a multiple of 32.
        seed: with ``epoch`` and ``batch`` decides.
        epoch: the epoch.
        batch: the batch's number in it.
    """
    low, high = math.ceil(side * (1 - share) / _STEP), math.floor(side * (1 + share) / _STEP)
    if low >= high:
        return side
    random = torch.Generator().manual_seed(mixed_seed(seed, epoch, batch))
    return _STEP * int(torch.randint(max(low, 1), high + 1, (), generator=random))


def rescaled(images: Tensor, targets: BoxTargets, side: int) -> tuple[Tensor, BoxTargets]:
    """Return a batch ``(B, C, S, S)`` and its boxes at another side."""
    if images.shape[-1] == side:
        return images, targets
    larger = v2.functional.resize(images, [side, side], antialias=True)
    return larger, targets._replace(boxes=targets.boxes * (side / images.shape[-1]))
