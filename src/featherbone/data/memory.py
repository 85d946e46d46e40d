"""Decoded images that are kept in memory: decoding takes most of the time of loading, and every epoch asks anew."""

from __future__ import annotations

import os

from PIL import Image

_SHARE = 1 / 8  # of the memory that is free when a loader begins
_MOST = 1 << 32  # bytes


class ImageMemory:
    """Images by their place, as long as there is room; what was kept once stays.

    Args:
        most_bytes: room for pixels.
    """

    def __init__(self, most_bytes: int) -> None:
        self.room = most_bytes
        self._images: dict[int, Image.Image] = {}

    def __len__(self) -> int:
        return len(self._images)

    def get(self, place: int) -> Image.Image | None:
        """Return the image that is kept under a place."""
        return self._images.get(place)

    def keep(self, place: int, image: Image.Image) -> None:
        """Keep an image that nobody draws on, if there is room."""
        size = image.width * image.height * len(image.getbands())
        if size <= self.room:
            self.room -= size
            self._images[place] = image


def room_for_images(loaders: int) -> int:
    """Return how many bytes each of so many loaders may fill; none where the system does not say what is free."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows, macOS
        return 0
    return int(min(_SHARE * free, _MOST)) // max(1, loaders)
