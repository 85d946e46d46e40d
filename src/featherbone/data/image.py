"""Read any image file a person may have as 8-bit RGB or grey, upright, or say why not."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from featherbone.data.dataset import ImageInfo, Source
from featherbone.data.names import printable
from featherbone.errors import InputError, first_line
from featherbone.files import kind_of

Mode = Literal["L", "RGB"]

# what Pillow's decoders raise on files that are cut short, mislabelled or hostile
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_MOST_BYTES = 1 << 30
_PROGRAMS = {"EPS", "WMF"}  # drawings that other programs draw: Pillow would start them
_USUAL = ("JPEG", "PNG")
_STRIP = 1 << 22  # pixels that are converted at once
_LARGE = 1 << 24
_one_large = threading.Lock()  # of many threads, one at a time holds a large image: bombs do not add up


_ROUNDED = 1e-3  # how far beyond 0 and 1 floats may lie that were computed
_TIFF_SIZE = (TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH)

# the EXIF orientations that exchange x and y (the others cannot be told from the sizes), and whether the new x and the
# new y count from the other side
TURNS = {5: (False, False), 6: (True, False), 7: (True, True), 8: (False, True)}


class UnreadableImageError(InputError):
    """The file is not an image that can be decoded; the message says why, without the path."""


def read_image(source: Source, mode: Mode = "RGB") -> Image.Image:
    """Decode an image completely: first frame, turned upright as its EXIF says, transparency laid on white, 8 bits.

    Args:
        source: a file, an array ``(H, W)`` or ``(H, W, 3)`` of uint8, or an image stored elsewhere.
        mode: "RGB" or "L" (grey).

    Raises:
        UnreadableImageError: if it cannot be decoded.
        InputError: if it is stored elsewhere and cannot be fetched.
    """
    with decoded(source) as (image, _):
        return _converted(image, mode)


@contextmanager
def decoded(source: Source) -> Iterator[tuple[Image.Image, ImageInfo]]:
    """Yield an image, decoded as in ``read_image`` but in 8 bits of any mode, and what was seen of it.

    Raises:
        UnreadableImageError: if it cannot be decoded.
        InputError: if it is stored elsewhere and cannot be fetched.
    """
    if isinstance(source, np.ndarray):
        image = Image.fromarray(source)
        yield image, ImageInfo(image.width, image.height, image.mode)
        return
    # before anything is caught: that a shard cannot be fetched does not make its images bad
    content = source if isinstance(source, Path) else io.BytesIO(source.read())
    with ExitStack() as held:
        yield _decode(content, held)


@contextmanager
def without_pillows_warnings() -> Iterator[None]:
    """Silence Pillow's warnings of odd tags and large files: decoding decides whether an image can be read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        yield


def check_file(path: Path) -> Path:
    """Return the path of a file that may hold an image: opening a pipe would wait for ever.

    Raises:
        UnreadableImageError: if it is no file or far too large.
        OSError: if its state cannot be read.
    """
    status = path.stat()
    if (kind := kind_of(status)) != "a file":
        raise UnreadableImageError(f"{kind}, not a file")
    if status.st_size > _MOST_BYTES:
        raise UnreadableImageError(f"too large: {status.st_size / 1e9:.1f} GB")
    if not status.st_size:
        raise UnreadableImageError("the file is empty")
    return path


def _decode(content: Path | BinaryIO, held: ExitStack) -> tuple[Image.Image, ImageInfo]:
    Image.init()
    # usual ones first: some of the others read the file before they say that it is none of theirs
    formats = [*_USUAL, *(name for name in Image.ID if name not in (*_USUAL, *_PROGRAMS))]
    try:
        # a stream, not a path: Pillow maps uncompressed TIFF files into memory, and those that EXIF turns wrongly
        opened = held.enter_context(check_file(content).open("rb")) if isinstance(content, Path) else content
        stored = held.enter_context(Image.open(opened, formats=formats))
        if _pixels_at_once(stored) > _LARGE:
            held.enter_context(_one_large)
        mode, animated = stored.mode, _has_further_frames(stored)
        turned = orientation_of(stored) in range(2, 9)
        stored.load()
        ImageOps.exif_transpose(stored, in_place=True)
        image = _eight_bits(stored)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"too large: more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from error
    except _UNREADABLE as error:
        said = isinstance(error, OSError) and error.strerror  # without errno and path
        raise UnreadableImageError(said or f"damaged: {printable(first_line(error))}".removesuffix(".")) from error
    return image, ImageInfo(image.width, image.height, mode, turned=turned, animated=animated)


def orientation_of(image: Image.Image) -> int:
    """Return how EXIF says that an image is to be turned; asked before it is loaded, since TIFF forgets it then."""
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _pixels_at_once(image: Image.Image) -> int:
    """Return how many pixels decoding needs memory for: the tiles of a TIFF file may be far larger than it is."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    tile = int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))
    pixels = image.width * image.height
    if tile > max(_LARGE, 4 * pixels):
        raise UnreadableImageError(f"damaged: tiles of {tile:,} pixels in an image of {pixels:,}")
    return max(pixels, tile)


def _has_further_frames(image: Image.Image) -> bool:
    try:
        return "is_animated" in dir(image) and bool(image.is_animated)  # type: ignore[attr-defined] # GIF reads on for it
    except _UNREADABLE:
        return True  # which is damaged, but the first one counts


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes that cover an image from top to bottom: what is done box by box needs little memory at once."""
    rows = max(1, _STRIP // max(1, image.width))
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(image)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return _on_white(image)
    return image.convert("RGB") if image.mode == "LAB" else image  # Pillow knows no way from LAB to grey


def _scaled(image: Image.Image) -> Image.Image:
    """Return 16-bit grey, or floats from 0 to 1, in 8 bits: what white is never depends on the picture."""
    values, white = np.asarray(image), 1.0 if image.mode == "F" else 65535.0
    if image.mode == "I" and image.format != "PPM":  # whose numbers Pillow has brought to 16 bits
        raise UnreadableImageError("32-bit numbers, of which nobody can tell what is white: save it with 8 or 16 bits")
    if image.mode == "F":
        finite = np.isfinite(values)
        low, high = values.min(initial=0, where=finite), values.max(initial=0, where=finite)
        if low < -_ROUNDED or high > 1 + _ROUNDED:
            raise UnreadableImageError(
                f"floats from {low:g} to {high:g}, of which nobody can tell what is white: save 0 to 1"
            )
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    negative = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    scaled = np.empty(values.shape, np.uint8)
    for _, start, _, end in strips(image):
        with np.errstate(invalid="ignore"):  # some of what is no number complains when it is copied
            part = np.nan_to_num(values[start:end].astype(np.float64), posinf=white)
        part = (part.clip(0, white) * (255 / white)).round()
        scaled[start:end] = 255 - part if negative else part
    return Image.fromarray(scaled)


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size)
    for box in strips(image):
        part = image.crop(box)
        part = part.convert("LA").convert("RGBA") if part.mode == "La" else part.convert("RGBA")
        flat.paste(Image.alpha_composite(Image.new("RGBA", part.size, "white"), part).convert("RGB"), box)
    return flat


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


def glance(source: Source) -> tuple[int, int, int]:
    """Return the stored width and height and the EXIF orientation of an image that was decoded before.

    Raises:
        UnreadableImageError: if it is no image any more.
    """
    assert isinstance(source, Path), "annotation files name files"
    try:
        with without_pillows_warnings(), Image.open(check_file(source)) as image:
            orientation, (width, height) = orientation_of(image), image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose size is the upright one already
                width, height = (int(image.tag_v2[tag]) for tag in _TIFF_SIZE)
            return width, height, orientation
    except UnreadableImageError:
        raise
    except (OSError, SyntaxError, ValueError, LookupError) as error:
        raise UnreadableImageError(first_line(error)) from error


def info_upright(source: Source) -> ImageInfo:
    """Return what ``glance`` tells of an image; its mode is not looked at.

    Raises:
        UnreadableImageError: if it is no image any more.
    """
    width, height, orientation = glance(source)
    across, down = (height, width) if orientation in TURNS else (width, height)
    return ImageInfo(across, down, "RGB", turned=orientation in range(2, 9))
