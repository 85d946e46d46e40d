"""Bring the short side of an image to a length, and cut out the middle."""

from __future__ import annotations

import math

from PIL import Image

_MOST = 1 << 24  # pixels that an image may have for a moment: a row of 30,000 pixels would become 2,000 million


def center_crop(image: Image.Image, short: int, size: int) -> Image.Image:
    """Return the middle ``size`` pixels of an image whose short side is resized to ``short`` pixels.

    They are those of ``torchvision``'s ``Resize`` and ``CenterCrop``. Of an image so thin that the resized one would
    fill the memory, only the pixels that stay are computed, which may differ by one level or two.
    """
    drawn = [short * side // min(image.size) for side in image.size]
    corner = [round((side - size) / 2) for side in drawn]
    if math.prod(drawn) <= _MOST:
        left, top = corner
        return image.resize((drawn[0], drawn[1]), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    edges = []
    for side, length, start in zip(image.size, drawn, corner, strict=True):
        step = side / length  # pixels of the image in one of the resized
        low, high = start * step, min(side, (start + size) * step)
        reach = math.ceil(max(1.0, step)) + 1  # of the filter
        first, last = max(0, math.floor(low) - reach), min(side, math.ceil(high) + reach)
        edges.append((first, last, low - first, high - first))
    (left, right, x1, x2), (top, bottom, y1, y2) = edges
    near = image.crop((left, top, right, bottom))
    return near.resize((size, size), Image.Resampling.BILINEAR, box=(x1, y1, x2, y2))
