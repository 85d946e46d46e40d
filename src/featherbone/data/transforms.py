"""From a PIL image to a network's input, the same each time or varied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from featherbone.data.letterbox import letterboxed
from featherbone.data.preprocess import Preprocess

Transform = Callable[[Image.Image], Tensor]


def evaluation_transform(preprocess: Preprocess) -> Transform:
    """Return the transform from a PIL image to a normalized float tensor ``(C, size, size)``."""
    return v2.Compose([*_square(preprocess), *to_tensor(preprocess)])


def training_transform(
    preprocess: Preprocess,
    *,
    crop_min: float = 1.0,
    shift: int = 0,
    flip: float = 0.0,
    rotation: float = 0.0,
    translate: float = 0.0,
    rand_augment: int = 0,
    random_erasing: float = 0.0,
) -> Transform:
    """Return the randomized transform from a PIL image to a normalized float tensor ``(C, size, size)``.

    Args:
        preprocess: size and normalization.
        crop_min: smallest share of the image's area that a random crop keeps; 1 crops nothing at random.
        shift: largest shift, in pixels; zeros come in.
        flip: probability of mirroring left to right.
        rotation: largest rotation, in degrees either way.
        translate: largest shift, as a share of the side.
        rand_augment: magnitude of RandAugment's two operations, 0 to 30; 0 for none.
        random_erasing: probability of erasing a random rectangle.
    """
    steps: list[Callable[..., Any]] = []
    if crop_min < 1:
        steps.append(v2.RandomResizedCrop(preprocess.size, scale=(crop_min, 1.0), antialias=True))
    else:
        steps += _square(replace(preprocess, crop=1.0))
    if shift:
        steps.append(v2.RandomCrop(preprocess.size, padding=shift))
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if rotation or translate:
        bilinear = InterpolationMode.BILINEAR
        steps.append(v2.RandomAffine(rotation, (translate, translate), (0.9, 1.1), interpolation=bilinear))
    if rand_augment:
        steps.append(v2.RandAugment(magnitude=rand_augment))
    steps += to_tensor(preprocess)
    if random_erasing:
        steps.append(v2.RandomErasing(random_erasing))
    return v2.Compose(steps)


class _BlueFirst(nn.Module):
    """``(..., 3, H, W)`` with the colours in the opposite order."""

    def forward(self, image: Tensor) -> Tensor:
        return image.flip(-3)


def _square(preprocess: Preprocess) -> list[Callable[..., Any]]:
    """Return the steps from a PIL image to a square one."""
    if preprocess.fit == "letterbox":
        return [partial(letterboxed, side=preprocess.size)]
    return [v2.Resize(round(preprocess.size / preprocess.crop), antialias=True), v2.CenterCrop(preprocess.size)]


def to_tensor(preprocess: Preprocess) -> list[Callable[..., Any]]:
    """Return the steps from a PIL image of the right size to a normalized float tensor."""
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        *([_BlueFirst()] if preprocess.bgr else []),
        v2.Normalize(list(preprocess.mean), list(preprocess.std)),
        v2.ToPureTensor(),
    ]
