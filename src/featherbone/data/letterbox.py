"""Put a whole image into a square input, and bring boxes back from there.

The longer side becomes the input's, the aspect ratio stays (to the nearest pixel), and the image lies at the top left:
so the way back is one division, whatever the image's size, and an exported network needs no offsets. It is YOLOX's
place, too. The rest is grey 114, which YOLO networks learned with and which is, to half a level, the mean of
photographs (0.449 of 255): after the usual normalization it is nearly the zero that convolutions pad with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

FILL = 114


@dataclass(frozen=True)
class Placement:
    """An image that is drawn somewhere in a square.

    Attributes:
        size: width and height of the image, in pixels.
        drawn: width and height that it is drawn with.
        corner: where its left and top edges come to lie; below zero, its beginning is cut off.
    """

    size: tuple[int, int]
    drawn: tuple[int, int]
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def letterbox(cls, size: tuple[int, int], side: int, scale: float = 1.0) -> Placement:
        """Return where an image of ``size`` lies in a square of ``side`` pixels; ``scale`` draws it larger still."""
        factor = scale * side / max(size)
        width, height = (max(1, round(length * factor)) for length in size)
        return cls(size, (width, height))

    def draw(
        self, image: Image.Image, canvas: Image.Image, vary: Callable[[Image.Image], Image.Image] | None = None
    ) -> None:
        """Draw the image, which ``vary`` may change when it has its new size; what does not fit is cut off."""
        resized = image.resize(self.drawn, Image.Resampling.BILINEAR)
        canvas.paste(vary(resized) if vary else resized, self.corner)

    def onto(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes ``(N, 4)`` of the image in pixels of the square, float64, however far they go beyond it."""
        return boxes * self._factors + np.array(self.corner * 2, np.float64)

    def back(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes ``(N, 4)`` of the square in pixels of the image, float64, cut off at its edges."""
        there = (boxes - np.array(self.corner * 2, np.float64)) / self._factors
        return there.clip(0, np.array(self.size * 2, np.float64))

    @property
    def _factors(self) -> np.ndarray:
        """What x1 y1 x2 y2 are multiplied with: the two axes differ where the drawn sides are rounded."""
        width, height = (drawn / length for drawn, length in zip(self.drawn, self.size, strict=True))
        return np.array((width, height, width, height))


def blank(mode: str, side: int) -> Image.Image:
    """Return a grey square of Pillow's mode "L" or "RGB"."""
    return Image.new(mode, (side, side), FILL if mode == "L" else (FILL,) * 3)


def letterboxed(image: Image.Image, side: int) -> Image.Image:
    """Return an image as a square of ``side`` pixels, all of it in sight."""
    canvas = blank(image.mode, side)
    Placement.letterbox(image.size, side).draw(image, canvas)
    return canvas
