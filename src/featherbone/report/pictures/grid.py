"""Small images side by side, with a few words below each, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from featherbone.files import MARK, replacing
from featherbone.report.pictures.boxes import letters, shortened
from featherbone.text import printable

_GAP = 6  # pixels
_PAPER, _INK = "white", "black"


def draw_grid(images: Sequence[Image.Image], lines: Sequence[Sequence[str]], columns: int) -> Image.Image:
    """Return a picture of images of one size, row by row.

    Args:
        images: one or more.
        lines: the words below each, line by line; longer ones are cut.
        columns: images in a row.
    """
    width, height = images[0].size
    font = letters(12)
    line = sum(font.getmetrics())
    below = line * max(map(len, lines))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    whole = (columns * (width + _GAP) + _GAP, rows * (height + below + _GAP) + _GAP)
    picture = Image.new("RGB", whole, _PAPER)
    draw = ImageDraw.Draw(picture)
    for place, (image, words) in enumerate(zip(images, lines, strict=True)):
        left = _GAP + place % columns * (width + _GAP)
        top = _GAP + place // columns * (height + below + _GAP)
        picture.paste(image.convert("RGB"), (left, top))
        for number, text in enumerate(words):
            shown = shortened(printable(text), font, width)
            draw.text((left, top + height + number * line), shown, font=font, fill=_INK)
    return picture


def save_picture(picture: Image.Image, path: Path, title: str) -> None:
    """Write a .png that says what it is and who made it, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    made = PngInfo()
    made.add_text("Title", title)
    made.add_text("Software", MARK)
    with replacing(path) as temporary:
        picture.save(temporary, pnginfo=made)
