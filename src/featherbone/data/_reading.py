"""Read the images of a set that was opened before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from featherbone.data.dataset import Source
from featherbone.data.image import Mode, UnreadableImageError, read_image
from featherbone.errors import InputError


def image_mode(channels: int) -> Mode:
    """Return what Pillow calls images of one or three channels."""
    return "L" if channels == 1 else "RGB"


def read_again(source: Source, mode: Mode) -> Image.Image:
    """Return an image that could be read when its data set was opened.

    Raises:
        InputError: if it has changed since.
    """
    try:
        return read_image(source, mode)
    except UnreadableImageError as error:
        name = "an image" if isinstance(source, np.ndarray) else source if isinstance(source, Path) else source.name
        raise InputError(f"{name} can no longer be read: {error}") from error
