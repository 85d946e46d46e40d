"""From a PIL image to a network's input, the same each time or varied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featherbone.data.crop import center_crop
from featherbone.data.letterbox import letterboxed
from featherbone.data.preprocess import Preprocess

Transform = Callable[[Image.Image], Tensor]


def evaluation_transform(preprocess: Preprocess) -> Transform:
    """Return the transform from a PIL image to a normalized float tensor ``(C, size, size)``."""
    return partial(_input, preprocess=preprocess)


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
    from torchvision.transforms import InterpolationMode, v2

    steps: list[Callable[..., Any]] = []
    if crop_min < 1:
        steps.append(v2.RandomResizedCrop(preprocess.size, scale=(crop_min, 1.0), antialias=True))
    else:
        steps.append(partial(_square, preprocess=replace(preprocess, crop=1.0)))
    if shift:
        steps.append(v2.RandomCrop(preprocess.size, padding=shift))
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if rotation or translate:
        bilinear = InterpolationMode.BILINEAR
        steps.append(v2.RandomAffine(rotation, (translate, translate), (0.9, 1.1), interpolation=bilinear))
    if rand_augment:
        steps.append(v2.RandAugment(magnitude=rand_augment))
    steps.append(partial(tensor_of, preprocess=preprocess))
    if random_erasing:
        steps.append(v2.RandomErasing(random_erasing))
    return v2.Compose(steps)


def _input(image: Image.Image, preprocess: Preprocess) -> Tensor:
    return tensor_of(_square(image, preprocess), preprocess)


def _square(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Return the whole image in a square, or the middle of it: as torchvision's Resize and CenterCrop, to the pixel."""
    side = preprocess.size
    if preprocess.fit == "letterbox":
        return letterboxed(image, side=side)
    return center_crop(image, round(side / preprocess.crop), side)


def tensor_of(image: Image.Image, preprocess: Preprocess) -> Tensor:
    """Return an image of the right size as a normalized float tensor ``(C, H, W)``."""
    pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1).permute(2, 0, 1)
    values = pixels.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)
    mean, std = _mean_and_std(preprocess)
    return (values.flip(0) if preprocess.bgr else values).sub_(mean).div_(std)


@cache  # making these takes as long as all else that is done to a small image
def _mean_and_std(preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    return mean, std
