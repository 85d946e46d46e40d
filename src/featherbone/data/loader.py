"""Images as batches: those with labels here, those with boxes in ``boxes.loading``, by the same loader.

What an epoch shows depends on the seed and the epoch alone: not on the number of loader processes, and not on whether
the run was interrupted before.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from featherbone.data.dataset import ImageSet
from featherbone.data.image import image_mode, read_again
from featherbone.data.sampler import EpochBatches, drawing_from, epoch_batches
from featherbone.data.transforms import Transform


class Batches(Dataset[tuple[Tensor, int]]):
    """Images of a set, transformed. An index is ``(epoch, i)``; the pair and the seed fix every random choice."""

    def __init__(self, images: ImageSet, transform: Transform, channels: int, seed: int = 0) -> None:
        self.images = images
        self.transform = transform
        self.mode = image_mode(channels)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, i = index
        image = read_again(self.images.sources[i], self.mode)
        with drawing_from(self.seed, epoch, i):
            return self.transform(image), self.images.labels[i]


class Loader(DataLoader[Any]):
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
    """Return a loader of ``(images (B, C, H, W), labels (B,))``; see ``epoch_batches`` for the order."""
    order = epoch_batches(images, batch_size, shuffle=shuffle, seed=seed, rank=rank, world=world)
    return loading(Batches(images, transform, channels, seed), order, workers)


def loading(
    images: Dataset[Any],
    order: EpochBatches,
    workers: int,
    together: Callable[[list[Any]], Any] | None = None,
) -> Loader:
    """Return a loader of what ``images`` gives for the indices of ``order``, put together into batches."""
    return Loader(
        images,
        batch_sampler=order,
        collate_fn=together,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_interrupts_to_the_main_process,
        pin_memory=torch.cuda.is_available(),
    )


def _leave_interrupts_to_the_main_process(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to every process of the program
