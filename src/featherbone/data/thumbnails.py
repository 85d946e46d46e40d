"""Images of a data set as small pictures that a page can hold."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from featherbone.data.dataset import Source
from featherbone.data.image import UnreadableImageError, read_image, without_pillows_warnings

SIDE = 160  # pixels at most: twice what a page shows, for fine screens


def thumbnail(source: Source, side: int = SIDE) -> dict[str, Any]:
    """Return what a page needs of an image.

    Args:
        source: the image.
        side: width and height in pixels, at most.

    Returns:
        The picture as a ``data:`` address and the (width, height) of the image; or why it cannot be read any more.
    """
    try:
        with without_pillows_warnings():
            image = read_image(source)
    except UnreadableImageError as error:
        return {"unreadable": str(error)}
    return {"picture": encode(image, side), "size": image.size}


def encode(image: Image.Image, side: int = SIDE) -> str:
    """Return an image as a ``data:`` address, smaller if it is larger than ``side``; tiny ones keep every pixel."""
    small = image.copy()
    small.thumbnail((side, side))
    stream = io.BytesIO()
    small.save(stream, "WEBP", lossless=max(small.size) <= SIDE // 2, quality=80)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
