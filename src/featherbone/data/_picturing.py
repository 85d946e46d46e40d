"""An image of a data set as a small picture in a page."""

from __future__ import annotations

from typing import Any

from featherbone.data.dataset import Source
from featherbone.data.image import UnreadableImageError, read_image, without_pillows_warnings
from featherbone.report.pages.run import SIDE, thumbnail


def picture(source: Source, side: int = SIDE) -> dict[str, Any]:
    """Return an image as a ``data:`` address, ``side`` pixels wide or high, and its size; or why there is none."""
    try:
        with without_pillows_warnings():
            image = read_image(source)
    except UnreadableImageError as error:
        return {"unreadable": str(error)}
    return {"picture": thumbnail(image, side), "size": image.size}
