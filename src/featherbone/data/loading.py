"""Labelled images as batches.

What an epoch shows depends on the seed and the epoch alone: not on the number of loader processes, and not on whether
the run was interrupted before.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import InterpolationMode, v2

from featherbone.data.images import read_image
from featherbone.data.preprocess import Preprocess
from featherbone.data.sets import ImageSet

Transform = Callable[[Image.Image], Tensor]


def evaluation_transform(preprocess: Preprocess) -> Transform:
    """Return the transform from a PIL image to a normalised float tensor ``(C, size, size)``."""
    size = preprocess.size
    return v2.Compose(
        [v2.Resize(round(size / preprocess.crop), antialias=True), v2.CenterCrop(size), *_to_tensor(preprocess)]
    )


def training_transform(
    preprocess: Preprocess, *, crop_min: float, flip: float, rotation: float, translate: float, erase: float
) -> Transform:
    """Return the randomised transform from a PIL image to a normalised float tensor ``(C, size, size)``.

    Args:
        preprocess: size and normalisation.
        crop_min: smallest share of the image's area that a random crop keeps; 1 crops nothing at random.
        flip: probability of mirroring left to right.
        rotation: largest rotation, in degrees either way.
        translate: largest shift, as a share of the side.
        erase: probability of erasing a random rectangle.
    """
    steps: list[v2.Transform] = []
    if crop_min < 1:
        steps.append(v2.RandomResizedCrop(preprocess.size, scale=(crop_min, 1.0), antialias=True))
    else:
        steps += [v2.Resize(preprocess.size, antialias=True), v2.CenterCrop(preprocess.size)]
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if rotation or translate:
        bilinear = InterpolationMode.BILINEAR
        steps.append(v2.RandomAffine(rotation, (translate, translate), (0.9, 1.1), interpolation=bilinear))
    steps += _to_tensor(preprocess)
    if erase:
        steps.append(v2.RandomErasing(erase))
    return v2.Compose(steps)


def mixed_seed(*parts: int) -> int:
    """Return a seed that depends on every part, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "little")


class Batches(Dataset[tuple[Tensor, int]]):
    """Images of a set, transformed. An index is ``(epoch, i)``; the pair and the seed fix every random choice."""

    def __init__(self, images: ImageSet, transform: Transform, channels: int, seed: int = 0) -> None:
        self.images = images
        self.transform = transform
        self.mode: Literal["L", "RGB"] = "L" if channels == 1 else "RGB"
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, i = index
        image = read_image(self.images.sources[i], self.mode)
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed: it also queues a seed, with a stack trace, for every absent accelerator
            torch.default_generator.manual_seed(mixed_seed(self.seed, epoch, i))
            return self.transform(image), self.images.labels[i]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield ``(epoch, i)`` for every image: in order, or in an order drawn from the seed and the epoch."""

    def __init__(self, count: int, *, shuffle: bool, seed: int = 0) -> None:
        self.count = count
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to yield; the training loop calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = torch.arange(self.count)
        if self.shuffle:
            order = torch.randperm(
                self.count, generator=torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
            )
        return ((self.epoch, int(i)) for i in order)


def loader(
    images: ImageSet,
    transform: Transform,
    *,
    channels: int,
    batch_size: int,
    workers: int,
    shuffle: bool = False,
    seed: int = 0,
) -> DataLoader[tuple[Tensor, int]]:
    """Return a loader of ``(images (B, C, H, W), labels (B,))``; when shuffling, a last batch of one image is dropped.

    Batch norm cannot learn from a single image, and one image in an epoch is not missed.
    """
    lone = shuffle and len(images) % batch_size == 1 and len(images) > 1
    return DataLoader(
        Batches(images, transform, channels, seed),
        batch_size=batch_size,
        sampler=EpochSampler(len(images), shuffle=shuffle, seed=seed),
        drop_last=lone,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_interrupts_to_the_main_process,
        pin_memory=torch.cuda.is_available(),
    )


def _leave_interrupts_to_the_main_process(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to every process of the program


class _BlueFirst(nn.Module):
    """``(..., 3, H, W)`` with the colours in the opposite order."""

    def forward(self, image: Tensor) -> Tensor:
        return image.flip(-3)


def _to_tensor(preprocess: Preprocess) -> list[v2.Transform]:
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        *([_BlueFirst()] if preprocess.bgr else []),
        v2.Normalize(list(preprocess.mean), list(preprocess.std)),
        v2.ToPureTensor(),
    ]
