"""Labelled images as batches.

What an epoch shows depends on the seed and the epoch alone: not on the number of loader processes, and not on whether
the run was interrupted before.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import InterpolationMode, v2

from featherbone.data.images import UnreadableImageError, read_image
from featherbone.data.preprocess import Preprocess
from featherbone.data.sets import ImageSet
from featherbone.errors import InputError

Transform = Callable[[Image.Image], Tensor]


def evaluation_transform(preprocess: Preprocess) -> Transform:
    """Return the transform from a PIL image to a normalised float tensor ``(C, size, size)``."""
    size = preprocess.size
    return v2.Compose(
        [v2.Resize(round(size / preprocess.crop), antialias=True), v2.CenterCrop(size), *_to_tensor(preprocess)]
    )


def training_transform(
    preprocess: Preprocess,
    *,
    crop_min: float = 1.0,
    shift: int = 0,
    flip: float = 0.0,
    rotation: float = 0.0,
    translate: float = 0.0,
    rand_augment: int = 0,
    erase: float = 0.0,
) -> Transform:
    """Return the randomised transform from a PIL image to a normalised float tensor ``(C, size, size)``.

    Args:
        preprocess: size and normalisation.
        crop_min: smallest share of the image's area that a random crop keeps; 1 crops nothing at random.
        shift: largest shift, in pixels; zeros come in.
        flip: probability of mirroring left to right.
        rotation: largest rotation, in degrees either way.
        translate: largest shift, as a share of the side.
        rand_augment: magnitude of RandAugment's two operations, 0 to 30; 0 for none.
        erase: probability of erasing a random rectangle.
    """
    steps: list[v2.Transform] = []
    if crop_min < 1:
        steps.append(v2.RandomResizedCrop(preprocess.size, scale=(crop_min, 1.0), antialias=True))
    else:
        steps += [v2.Resize(preprocess.size, antialias=True), v2.CenterCrop(preprocess.size)]
    if shift:
        steps.append(v2.RandomCrop(preprocess.size, padding=shift))
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if rotation or translate:
        bilinear = InterpolationMode.BILINEAR
        steps.append(v2.RandomAffine(rotation, (translate, translate), (0.9, 1.1), interpolation=bilinear))
    if rand_augment:
        steps.append(v2.RandAugment(magnitude=rand_augment))
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
        source = self.images.sources[i]
        try:
            image = read_image(source, self.mode)
        except UnreadableImageError as error:  # it could be read when the data set was opened
            name = "an image" if isinstance(source, np.ndarray) else source if isinstance(source, Path) else source.name
            raise InputError(f"{name} can no longer be read: {error}") from error
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed: it also queues a seed, with a stack trace, for every absent accelerator
            torch.default_generator.manual_seed(mixed_seed(self.seed, epoch, i))
            return self.transform(image), self.images.labels[i]


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches of an epoch, each a list of ``(epoch, i)``, in order or in one drawn from the seed and the epoch.

    Several processes share every batch: the first takes its images 0, n, 2n ..., so all of them together see what one
    alone would see.

    Args:
        images: how many there are, and in which runs they are stored.
        batch_size: images per batch, over all processes.
        shuffle: draw an order. Runs are kept together, so that what is stored together is read together.
        seed: decides the order.
        rank: which of the processes this is.
        world: how many processes there are.
        least: a last batch of fewer images is left out.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        least: int = 1,
    ) -> None:
        self.images, self.batch_size = images, batch_size
        self.shuffle, self.seed = shuffle, seed
        self.rank, self.world = rank, world
        self.epoch = self.start = 0
        left = len(images) % batch_size
        self.count = len(images) // batch_size + (left >= least and left > 0)
        self.sampler = self  # where Lightning looks for set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to yield; the training loop calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        start, self.start = self.start, 0
        order = self._order(self.epoch)
        return (self._share(order, batch, self.epoch) for batch in range(start, self.count))

    def size(self, batch: int) -> int:
        """Return how many images a batch has, over all processes."""
        return min(self.batch_size, len(self.images) - batch * self.batch_size)

    def places(self, batch: int) -> list[tuple[int, int]]:
        """Return what this process reads in a batch of the present epoch."""
        return self._share(self._order(self.epoch), batch, self.epoch)

    def _share(self, order: Tensor, batch: int, epoch: int) -> list[tuple[int, int]]:
        whole = order[batch * self.batch_size :][: self.batch_size]
        return [(epoch, int(i)) for i in whole[self.rank :: self.world]]

    def _order(self, epoch: int) -> Tensor:
        count = len(self.images)
        if not self.shuffle:
            return torch.arange(count)
        random = torch.Generator().manual_seed(mixed_seed(self.seed, epoch))
        if not self.images.groups:
            return torch.randperm(count, generator=random)
        runs = torch.split(torch.arange(count), list(self.images.groups))
        chosen = [runs[i] for i in torch.randperm(len(runs), generator=random).tolist()]
        return torch.cat([run[torch.randperm(len(run), generator=random)] for run in chosen])


class Loader(DataLoader[tuple[Tensor, int]]):
    """A loader that goes on within an epoch: its state is the number of batches that it has given."""

    given = 0

    @property
    def order(self) -> EpochBatches:
        """The batches of an epoch."""
        assert isinstance(self.batch_sampler, EpochBatches)
        return self.batch_sampler

    def state_dict(self) -> dict[str, int]:
        """Return where the epoch stands."""
        return {"given": self.given % len(self)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next pass begin where another loader stood."""
        self.order.start = state["given"]

    def __iter__(self) -> Any:  # DataLoader names a class that is not public
        # begins when the first batch is asked for: Lightning says only then which epoch it is
        self.given = self.order.start
        for batch in super().__iter__():
            self.given += 1
            yield batch


def loader(
    images: ImageSet,
    transform: Transform,
    *,
    channels: int,
    batch_size: int,
    workers: int,
    shuffle: bool = False,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Loader:
    """Return a loader of ``(images (B, C, H, W), labels (B,))``.

    When shuffling, a last batch of fewer than two images a process is left out, if it is not the only one: batch norm
    cannot learn from a single image, and few images in an epoch are not missed.
    """
    least = 2 * world if shuffle and len(images) > batch_size else 1
    order = EpochBatches(images, batch_size, shuffle=shuffle, seed=seed, rank=rank, world=world, least=least)
    return Loader(
        Batches(images, transform, channels, seed),
        batch_sampler=order,
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
