"""Boxes drawn on images, and precision against recall as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

# colours that people of any colour vision tell apart (Okabe and Ito 2008)
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_TOWARDS = ((0.0, 0.0), (0.45, 0.0), (0.5, 1.0))  # the same again, darker, lighter: how far, to black or to white

Colour = tuple[int, int, int]
Area = tuple[float, float, float, float]


class Boxes(Protocol):
    """What was found in an image: boxes ``(K, 4)`` in its pixels, scores ``(K,)``, class numbers ``(K,)``."""

    @property
    def boxes(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...


def class_colour(label: int) -> Colour:
    """Return the colour of a class, always the same: seven, then seven darker ones, then seven lighter ones."""
    share, to = _TOWARDS[label // len(_COLOURS) % len(_TOWARDS)]
    red, green, blue = (round(255 * (part + share * (to - part))) for part in to_rgb(_COLOURS[label % len(_COLOURS)]))
    return red, green, blue


def draw_boxes(image: Image.Image, found: Boxes, classes: Sequence[str]) -> Image.Image:
    """Return an image with boxes, names and scores drawn on it, legible whatever it shows.

    Args:
        image: in any mode; it stays as it is.
        found: what was found in it, in its pixels.
        classes: names, in label order.
    """
    order = np.argsort(-found.scores, kind="stable")
    labels, scores = found.labels[order], found.scores[order]
    texts = [f"{classes[label]} {score:.0%}" for label, score in zip(labels, scores, strict=True)]
    return outline(image, found.boxes[order], labels, texts)


def outline(image: Image.Image, boxes: np.ndarray, labels: np.ndarray, texts: Sequence[str]) -> Image.Image:
    """Return an image with boxes and words drawn on it; the first ones are on top.

    Args:
        image: in any mode; it stays as it is.
        boxes: ``(N, 4)``: x1 y1 x2 y2 in its pixels.
        labels: ``(N,)`` numbers of classes, which decide the colours.
        texts: what is written by each.
    """
    drawn = image.convert("RGB")
    draw = ImageDraw.Draw(drawn)
    width = max(1, round(sum(image.size) / 700))
    font = letters(max(10, round(sum(image.size) / 80)))
    colours = [class_colour(int(label)) for label in labels]
    for box, colour in reversed([*zip(boxes, colours, strict=True)]):
        _frame(draw, box, colour, width)
    taken: list[Area] = []
    for box, colour, text in zip(boxes, colours, texts, strict=True):  # the first has the first choice of a place
        taken.append(_label(draw, drawn.size, box, text, colour, font, taken))
    return drawn


@lru_cache
def letters(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of pictures, so many pixels high."""
    return ImageFont.truetype(findfont("DejaVu Sans"), size)


def _frame(draw: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, width: int) -> None:
    """Draw a rectangle with a thin dark edge on either side, so that it shows on its own colour, too."""
    x1, y1, x2, y2 = (round(float(edge)) for edge in box)
    corners = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    thin = max(1, width // 3)
    draw.rectangle(corners, outline=(0, 0, 0), width=width + 2 * thin)
    inner = (corners[0] + thin, corners[1] + thin, corners[2] - thin, corners[3] - thin)
    if inner[0] <= inner[2] and inner[1] <= inner[3]:
        draw.rectangle(inner, outline=colour, width=width)


def _label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: np.ndarray,
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont,
    taken: Sequence[Area],
) -> Area:
    """Write a name by its box, within the image, if possible on no other name; return where."""
    pad = max(1, round(font.size / 6))
    text = shortened(text, font, size[0] - 2 * pad)
    sides = (font.getlength(text) + 2 * pad, sum(font.getmetrics()) + 2 * pad)
    places = list(_places(size, box, sides))
    area = next((place for place in places if not any(_touch(place, other) for other in taken)), places[0])
    draw.rectangle(area, fill=colour)
    red, green, blue = colour
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    draw.text((area[0] + pad, area[1] + pad), text, font=font, fill="black" if light else "white")
    return area


def _places(size: tuple[int, int], box: np.ndarray, sides: tuple[float, float]) -> Iterator[Area]:
    """Yield where a name may stand, moved into the image: above the box, in it, below it; left, then right."""
    x1, y1, x2, y2 = box.tolist()
    width, height = sides
    rows = (y1 - height, y1, y2 - height, y2) if y1 >= height else (y1, y2 - height, y2)
    for left in (x1, x2 - width):
        for top in rows:
            x = min(max(0.0, left), max(0.0, size[0] - width))
            y = min(max(0.0, top), max(0.0, size[1] - height))
            yield x, y, x + width, y + height


def _touch(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def shortened(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """Return as much of a text as has room, in pixels."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"
