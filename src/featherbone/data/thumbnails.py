"""Small pictures that a page can hold."""

from __future__ import annotations

import base64
import io

from featherbone.data.dataset import Source
from featherbone.data.image import UnreadableImageError, read_image

_SIDE = 96
_TINY = 48  # up to here every pixel counts, and costs little


def thumbnail(source: Source, side: int = _SIDE) -> str:
    """Return an image, at most so many pixels wide and high, as a data URI; empty if it cannot be read any more."""
    try:
        image = read_image(source)
    except UnreadableImageError:
        return ""
    kind = "png" if max(image.size) <= _TINY else "jpeg"
    image.thumbnail((side, side))
    packed = io.BytesIO()
    image.save(packed, kind, **({"quality": 82} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(packed.getvalue()).decode()}"
