"""From an image and its boxes to a network's input and what is to be found there, the same each time or varied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featherbone.data.dataset import Annotations
from featherbone.data.letterbox import Placement, blank
from featherbone.data.preprocess import Preprocess
from featherbone.data.transforms import tensor_of
from featherbone.errors import InputError

if TYPE_CHECKING:
    from torchvision.transforms import v2

Example = tuple[Image.Image, Annotations]
BoxedInput = tuple[Tensor, Tensor, Tensor]  # image (C, size, size), boxes (N, 4) in input pixels, labels (N,)

_KEPT = 0.25  # share of a box's area that must stay in sight: less tells nobody what it is
_LEAST = 2.0  # input pixels that a box must be wide and high


class BoxTransform(Protocol):
    """What makes inputs: of an image, its boxes, and perhaps other images that it asks for."""

    @property
    def preprocess(self) -> Preprocess:
        """Size and normalization of the inputs."""

    def __call__(self, image: Image.Image, annotations: Annotations, another: Callable[[], Example]) -> BoxedInput: ...


def evaluation_boxes(preprocess: Preprocess) -> BoxTransform:
    """Return the transform that shows the whole image, letterboxed.

    Raises:
        InputError: if ``preprocess.fit`` is not "letterbox".
    """
    return _Steady(letterboxing(preprocess))


def training_boxes(
    preprocess: Preprocess,
    *,
    mosaic: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    flip: float = 0.0,
    color_jitter: float = 0.0,
) -> BoxTransform:
    """Return the randomized transform. A box that loses three quarters of its area is no longer to be found.

    Args:
        preprocess: size and normalization; its ``fit`` must be "letterbox".
        mosaic: probability of showing four images round a point (Bochkovskiy et al. 2020), each at its own scale.
        scale: smallest and largest size of an image, where 1 is its size in the letterbox. It lies anywhere in the
            input where most of both is in sight.
        flip: probability of mirroring left to right.
        color_jitter: how far brightness, contrast and saturation may go from 1, either way; the hue a tenth of it.

    Raises:
        InputError: if an argument is out of range.
    """
    from torchvision.transforms import v2

    letterboxing(preprocess)
    if not (0 <= mosaic <= 1 and 0 <= flip <= 1 and 0 <= color_jitter <= 1):
        raise InputError(f"mosaic={mosaic}, flip={flip}, color_jitter={color_jitter} are not allowed: each from 0 to 1")
    if not 0 < scale[0] <= scale[1]:
        raise InputError(f"scale={scale} is not allowed: a smallest size above 0 and a largest one not below it")
    mirrored = v2.Compose([v2.SanitizeBoundingBoxes(_LEAST), v2.RandomHorizontalFlip(flip)])
    tinted = v2.ColorJitter(color_jitter, color_jitter, color_jitter, color_jitter / 10) if color_jitter else None
    return _Varied(preprocess, mosaic, scale, mirrored, tinted)


def letterboxing(preprocess: Preprocess) -> Preprocess:
    """Return the same, once it is known to show whole images: no box may be cut off.

    Raises:
        InputError: if it crops.
    """
    if preprocess.fit != "letterbox":
        raise InputError(f"fit={preprocess.fit!r} is not allowed where boxes are to be found: 'letterbox'")
    return preprocess


@dataclass(frozen=True)
class _Steady:
    preprocess: Preprocess

    def __call__(self, image: Image.Image, annotations: Annotations, another: Callable[[], Example]) -> BoxedInput:
        from torchvision.transforms import v2

        side = self.preprocess.size
        canvas = blank(image.mode, side)
        found = _drawn(canvas, image, annotations, Placement.letterbox(image.size, side))
        return _prepared(canvas, [found], v2.SanitizeBoundingBoxes(1.0), self.preprocess)


@dataclass(frozen=True)
class _Varied:
    preprocess: Preprocess
    mosaic: float
    scale: tuple[float, float]
    mirrored: v2.Transform
    tinted: v2.Transform | None  # of each image by itself: what lies between them stays grey

    def __call__(self, image: Image.Image, annotations: Annotations, another: Callable[[], Example]) -> BoxedInput:
        canvas = blank(image.mode, self.preprocess.size)
        if float(torch.rand(())) < self.mosaic:
            found = self._four(canvas, [(image, annotations), *(another() for _ in range(3))])
        else:
            width, height = drawn = self._scaled(image)
            corner = (_anywhere(canvas.width - width), _anywhere(canvas.height - height))
            found = [_drawn(canvas, image, annotations, Placement(image.size, drawn, corner), self.tinted)]
        return _prepared(canvas, found, self.mirrored, self.preprocess)

    def _four(self, canvas: Image.Image, examples: list[Example]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Draw four images, each with one corner at a point of the middle half."""
        side = canvas.width
        x, y = torch.randint(side // 4, side - side // 4 + 1, (2,)).tolist()
        found = []
        for (image, boxed), (right, below) in zip(examples, ((0, 0), (1, 0), (0, 1), (1, 1)), strict=True):
            width, height = drawn = self._scaled(image)
            corner = (x if right else x - width, y if below else y - height)
            found.append(_drawn(canvas, image, boxed, Placement(image.size, drawn, corner), self.tinted))
        return found

    def _scaled(self, image: Image.Image) -> tuple[int, int]:
        """Draw how wide and high an image becomes."""
        low, high = self.scale
        scale = low + (high - low) * float(torch.rand(()))
        return Placement.letterbox(image.size, self.preprocess.size, scale).drawn


def _anywhere(slack: int) -> int:
    """Return where an image begins that is so much smaller than its place; if it is larger, below zero."""
    return int(torch.randint(min(slack, 0), max(slack, 0) + 1, ()))


def _drawn(
    canvas: Image.Image,
    image: Image.Image,
    annotations: Annotations,
    placement: Placement,
    vary: Callable[[Image.Image], Image.Image] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an image; return boxes (in pixels of the canvas) and labels of what most can be seen of."""
    placement.draw(image, canvas, vary)
    whole = placement.onto(annotations.boxes)
    low = np.maximum(placement.corner, 0)
    high = np.minimum(np.add(placement.corner, placement.drawn), canvas.size)
    seen = whole.clip((*low, *low), np.maximum((*low, *low), (*high, *high)))
    kept = _area(seen) >= _KEPT * _area(whole)
    return seen[kept], annotations.labels[kept]


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _prepared(
    canvas: Image.Image,
    found: list[tuple[np.ndarray, np.ndarray]],
    change: v2.Transform,
    preprocess: Preprocess,
) -> BoxedInput:
    from torchvision.tv_tensors import BoundingBoxes

    boxes, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    sample = change(
        {
            "image": canvas,
            "boxes": BoundingBoxes(torch.from_numpy(boxes).float(), format="XYXY", canvas_size=canvas.size[::-1]),
            "labels": torch.from_numpy(labels),
        }
    )
    return tensor_of(sample["image"], preprocess), sample["boxes"].as_subclass(Tensor), sample["labels"]
