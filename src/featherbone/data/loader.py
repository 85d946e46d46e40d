"""Images and their targets as batches, labels and boxes by the same loader.

What an epoch shows depends on the seed and the epoch alone: not on the number of loader processes, and not on whether
the run was interrupted before. Any batch of it can be made again by itself: the images that share a mosaic are drawn
from the same numbers as everything else.
"""

from __future__ import annotations

import math
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from featherbone.data.box_transforms import BoxTransform
from featherbone.data.boxes import without_crowds
from featherbone.data.dataset import Annotations, Dataset, T
from featherbone.data.image import image_mode, read_again
from featherbone.data.memory import ImageMemory, room_for_images
from featherbone.data.sampler import EpochBatches, drawing_from, epoch_batches, mixed_seed
from featherbone.data.transforms import Transform
from featherbone.errors import InputError
from featherbone.signals import STOPS

X = TypeVar("X")

_STEP = 32  # pixels: the coarsest stride of a detector's maps


class Pipeline(ABC, Generic[T, X]):
    """What makes an example ``X`` of an image and its target, and a batch of examples."""

    @abstractmethod
    def example(self, image: Image.Image, target: T, place: int, another: Callable[[], tuple[Image.Image, T]]) -> X:
        """Return an example of the image at this place of its set; it may ask for other images of the set."""

    def collate(self, examples: list[X]) -> Any:
        """Return examples as a batch; here as PyTorch does it."""
        return torch.utils.data.default_collate(examples)


@dataclass(frozen=True)
class LabelPipeline(Pipeline[int, tuple[Tensor, int]]):
    """Batches of images ``(B, C, H, W)`` and labels ``(B,)``."""

    transform: Transform

    def example(
        self, image: Image.Image, target: int, place: int, another: Callable[[], tuple[Image.Image, int]]
    ) -> tuple[Tensor, int]:
        return self.transform(image), target


class BoxTargets(NamedTuple):
    """What is to be found in a batch of images.

    Crowds are left out: nobody can learn from them. Whoever scores detections finds them in the set, by ``places``.

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


BoxExample = tuple[Tensor, Tensor, Tensor, int, tuple[int, int]]  # image, boxes, labels, place, size


@dataclass(frozen=True)
class BoxPipeline(Pipeline[Annotations, BoxExample]):
    """Batches of images ``(B, C, size, size)`` and ``BoxTargets``."""

    transform: BoxTransform

    def example(
        self,
        image: Image.Image,
        target: Annotations,
        place: int,
        another: Callable[[], tuple[Image.Image, Annotations]],
    ) -> BoxExample:
        def other() -> tuple[Image.Image, Annotations]:
            second, annotations = another()
            return second, without_crowds(annotations)

        return *self.transform(image, without_crowds(target), other), place, image.size

    def collate(self, examples: list[BoxExample]) -> tuple[Tensor, BoxTargets]:
        pixels, boxes, labels, places, sizes = zip(*examples, strict=True)
        images = [torch.full((len(some),), place, dtype=torch.int64) for place, some in enumerate(labels)]
        return torch.stack(pixels), BoxTargets(
            torch.cat(boxes), torch.cat(labels), torch.cat(images), torch.tensor(places), torch.tensor(sizes)
        )


class Examples(TorchDataset[X], Generic[T, X]):
    """Examples of a set. An index is ``(epoch, i)``; the pair and the seed fix every random choice."""

    def __init__(
        self,
        images: Dataset[T],
        pipeline: Pipeline[T, X],
        channels: int,
        seed: int = 0,
        memory: ImageMemory | None = None,
    ) -> None:
        self.memory = memory
        self.images = images
        self.pipeline = pipeline
        self.mode = image_mode(channels)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: tuple[int, int]) -> X:
        epoch, i = index
        image, target = self._read(i)
        with drawing_from(self.seed, epoch, i):
            return self.pipeline.example(image, target, i, self._another)

    def _another(self) -> tuple[Image.Image, T]:
        return self._read(int(torch.randint(len(self.images), ())))

    def _read(self, i: int) -> tuple[Image.Image, T]:
        image = self.memory.get(i) if self.memory is not None else None
        if image is None:
            image = read_again(self.images.sources[i], self.mode)
            if self.memory is not None:
                self.memory.keep(i, image)
        return image, self.images.targets[i]


class Loader(DataLoader[Any]):
    """A loader that can be resumed within an epoch: its state is the number of batches that it has given."""

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
        try:
            for batch in super().__iter__():
                self.given += 1
                yield batch
        except InputError as error:  # of a loader process: PyTorch puts its whole traceback before the sentence
            raise InputError(str(error).strip().rpartition("InputError: ")[2]) from error


def loader(
    images: Dataset[T],
    pipeline: Pipeline[T, Any],
    *,
    channels: int,
    batch_size: int,
    workers: int,
    shuffle: bool = False,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    keep: bool = False,
) -> Loader:
    """Return a loader of a set's batches, as the pipeline makes them; see ``epoch_batches`` for the order.

    With ``keep``, decoded files stay in memory as far as there is room, for those who read a set more than once.
    """
    order = epoch_batches(images, batch_size, shuffle=shuffle, seed=seed, rank=rank, world=world)
    keep = keep and not all_in_memory(images)
    memory = ImageMemory(room_for_images(max(1, workers) * world)) if keep else None
    return Loader(
        Examples(images, pipeline, channels, seed, memory),
        batch_sampler=order,
        collate_fn=pipeline.collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals_to_the_main_process,
        pin_memory=torch.cuda.is_available(),
    )


def all_in_memory(images: Dataset[Any]) -> bool:
    """Return whether nothing of a set has to be decoded."""
    return all(isinstance(source, np.ndarray) for source in images.sources)


def drawn_side(side: int, share: float, *, seed: int, epoch: int, batch: int) -> int:
    """Return a side for a batch that is trained at several scales, the same in every process.

    Args:
        side: the usual one, in pixels.
        share: how far the drawn one may be away, as a share of it; it is a multiple of 32.
        seed: with ``epoch`` and ``batch`` decides.
        epoch: the epoch.
        batch: the batch's number in it.
    """
    low, high = _steps(side, share)
    if low >= high:
        return side
    random = torch.Generator().manual_seed(mixed_seed(seed, epoch, batch))
    return _STEP * int(torch.randint(low, high + 1, (), generator=random))


def smallest_side(side: int, share: float) -> int:
    """Return the smallest side that may be drawn; ``side`` itself, if no other is near enough."""
    low, high = _steps(side, share)
    return side if low >= high else low * _STEP


def side_at(side: int, shares: Sequence[float], progress: float) -> int:
    """Return the side at which a batch is trained by how much of the run is behind it.

    Args:
        side: the usual one, in pixels.
        shares: of it, the first and the last; between them it changes linearly.
        progress: 0 to 1.

    >>> [side_at(224, (0.5, 1.0), progress) for progress in (0, 0.5, 1)]
    [112, 160, 224]
    """
    first, last = shares
    if first == last == 1:
        return side
    step = 16 if side >= 64 else 4  # few sizes, whose maps halve evenly
    return max(1, round(side * (first + (last - first) * progress) / step)) * step


def _steps(side: int, share: float) -> tuple[int, int]:
    return max(1, math.ceil(side * (1 - share) / _STEP)), math.floor(side * (1 + share) / _STEP)


def rescaled(images: Tensor, targets: BoxTargets, side: int) -> tuple[Tensor, BoxTargets]:
    """Return a batch ``(B, C, S, S)`` and its boxes at another side."""
    if images.shape[-1] == side:
        return images, targets
    from torchvision.transforms.v2.functional import resize

    larger = resize(images, [side, side], antialias=True)
    return larger, targets._replace(boxes=targets.boxes * (side / images.shape[-1]))


def _leave_signals_to_the_main_process(_: int) -> None:
    """Go on when all processes of the program are asked to stop: the main one still needs batches to end its step.

    It ends this one through the loader's own events; when it dies, the loader's watchdog notices.
    """
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
