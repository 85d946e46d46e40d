"""Read any image file a person may have as 8-bit RGB or grey, upright, or say why not."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from featherbone.errors import InputError

Mode = Literal["L", "RGB"]

# what Pillow's decoders raise on files that are cut short, mislabelled or hostile
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_GREY = ("1", "L", "LA", "La", "I", "F")


class UnreadableImageError(InputError):
    """The file is not an image that can be decoded; the message says why, without the path."""


def read_image(source: Path | np.ndarray, mode: Mode = "RGB") -> Image.Image:
    """Decode an image completely: first frame, turned upright as its EXIF says, transparency laid on white, 8 bits.

    Args:
        source: a file, or an array ``(H, W)`` or ``(H, W, 3)`` of uint8.
        mode: "RGB" or "L" (grey).

    Raises:
        UnreadableImageError: if it cannot be decoded.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(source).convert(mode)
    try:
        with Image.open(source) as image:
            image.load()
            return _eight_bits(ImageOps.exif_transpose(image)).convert(mode)
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image" if source.stat().st_size else "the file is empty") from error
    except _UNREADABLE as error:
        raise UnreadableImageError(f"damaged: {error}".removesuffix(".")) from error


@contextmanager
def without_pillows_warnings() -> Iterator[None]:
    """Leave out what Pillow says of odd tags and large files: whether an image can be read, its decoding decides."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        yield


def is_grey(source: Path | np.ndarray) -> bool:
    """Return whether the image is stored without colour; reads the header only."""
    if isinstance(source, np.ndarray):
        return source.ndim == 2
    with Image.open(source) as image:
        return image.mode in _GREY or image.mode.startswith("I;")


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey, or 32-bit integers or floats
        values = np.asarray(image, dtype=np.float64)
        top = float(values.max(initial=0.0))
        sixteen = image.mode.startswith("I;") or top > 255
        full_scale = 1.0 if image.mode == "F" and top <= 1 else 65535.0 if sixteen else 255.0
        return Image.fromarray((values.clip(0, full_scale) * (255 / full_scale)).round().astype(np.uint8))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image
