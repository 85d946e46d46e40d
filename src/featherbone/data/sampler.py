"""Which images a batch holds: decided by seed and epoch, shared by processes, resumed anywhere."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Sampler

from featherbone.data.dataset import Source
from featherbone.errors import InputError

_MIXED = 4  # groups that are read at a time, if they and the next have room in the usual cache
_USUAL_BYTES = 20 * 10**9


class Grouped(Protocol):
    """What an order can be drawn for: so many images, stored in runs of these sizes, or singly."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The images."""

    @property
    def groups(self) -> tuple[int, ...]:
        """Sizes of the runs of images that are fetched together; empty if any order costs the same."""

    def __len__(self) -> int: ...


def mixed_seed(*parts: int) -> int:
    """Return a seed that depends on every part, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "little")


@contextmanager
def drawing_from(*parts: int) -> Iterator[None]:
    """Let everything that is drawn at random depend on these numbers alone, and change nothing for what comes after."""
    random = torch.default_generator
    before = random.get_state()
    # not torch.manual_seed: it also queues a seed, with a stack trace, for every absent accelerator
    random.manual_seed(mixed_seed(*parts))
    try:
        yield
    finally:
        random.set_state(before)


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches of an epoch, each a list of ``(epoch, i)``, in order or in one drawn from the seed and the epoch.

    Several processes share every batch: the first takes its images 0, n, 2n ..., so all of them together see what one
    alone would see. Of a last batch with fewer images than processes, some have none, and a batch less.

    Args:
        images: how many there are, and in which runs they are stored.
        batch_size: images per batch, over all processes.
        shuffle: draw an order. The images of a run are read near each other, mixed with those of three other runs: so
            few runs have to be on disk at a time, and yet a batch is not from a single one.
        seed: decides the order.
        rank: which of the processes this is.
        world: how many processes there are.
        least: a last batch of fewer images is left out.

    Raises:
        InputError: if there are fewer images than processes, or the runs that are read at a time do not fit the cache.
    """

    def __init__(
        self,
        images: Grouped,
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
        self.mixed = _mixed(images) if shuffle and images.groups else 1
        if len(images) < world:
            raise InputError(f"{len(images)} images are too few for {world} processes: one each, or more")
        left = len(images) % batch_size
        self.count = len(images) // batch_size + (left >= least and left > rank)  # no share of it is no batch
        self.sampler = self  # where Lightning looks for set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to yield; the training loop calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # all of it when the first batch is asked for: with processes, DataLoader makes two of these and uses one
        start, self.start = self.start, 0
        epoch, order = self.epoch, self._order(self.epoch)
        for batch in range(start, self.count):
            yield self._share(order, batch, epoch)

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
        # every group has a stretch of the epoch, and its images are anywhere in it: so as many overlap everywhere
        place = torch.randperm(len(self.images.groups), generator=random).double()
        ends = torch.stack((place - self.mixed / 2, place + self.mixed / 2)).clamp(0, len(place))
        first, last = ends.repeat_interleave(torch.tensor(self.images.groups), 1)
        return (first + (last - first) * torch.rand(count, generator=random, dtype=torch.float64)).argsort(stable=True)


def _mixed(images: Grouped) -> int:
    """Return how many groups are read at a time, from their sizes alone: the order is the same on every machine.

    Raises:
        InputError: if the cache here does not hold as many, and one that is yet to come.
    """
    from featherbone.data.sources.cache import ROOM  # only what is fetched has groups
    from featherbone.data.sources.remote import RemoteMember

    fetched = [source for source in images.sources if isinstance(source, RemoteMember)]
    if not fetched:
        return _MIXED
    largest = max(source.shard.size for source in fetched)
    mixed = min(_MIXED, max(1, _USUAL_BYTES // largest - 1))
    wanted = min(mixed + 1, len(images.groups)) * largest
    room = min(source.cache.most_bytes for source in fetched)
    if mixed > 1 and room < wanted:
        raise InputError(
            f"{ROOM}={room / 1e9:g} is too small to learn from these shards, of which {mixed} are read at a time: "
            f"{math.ceil(wanted / 1e8) / 10:g} or more"
        )
    return mixed


def epoch_batches(images: Grouped, batch_size: int, *, shuffle: bool, seed: int, rank: int, world: int) -> EpochBatches:
    """Return the order in which a loader gives images.

    When shuffling, a last batch of fewer than two images a process is left out, if it is not the only one: batch norm
    cannot learn from a single image, and few images in an epoch are not missed.
    """
    least = 2 * world if shuffle and len(images) > batch_size else 1
    return EpochBatches(images, batch_size, shuffle=shuffle, seed=seed, rank=rank, world=world, least=least)
