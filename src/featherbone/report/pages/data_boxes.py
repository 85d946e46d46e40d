"""What the page of a detection data set shows besides: pictures with boxes, and tables of the boxes."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

_MOST_OUTLINES = 300  # of one picture
_MARGIN = 0.3  # of the picture's side: how much is shown of what lies outside

_Values = Mapping[str, Any]
_Table = Callable[[Iterable[str], Iterable[Iterable[str]]], str]


def outlined(picture: _Values) -> str:
    """Return a picture with its boxes: ``picture``, ``width``, ``height`` and ``outlines`` of (corners, name, role).

    The last outlines lie on top; roles are "shown", "other" and "wrong".
    """
    width, height = picture["width"], picture["height"]
    limits = (-_MARGIN * width, -_MARGIN * height, (1 + _MARGIN) * width, (1 + _MARGIN) * height)
    drawn = [(_within(corners, limits), name, role) for corners, name, role in picture["outlines"][-_MOST_OUTLINES:]]
    across = [0, width, *(x for corners, _, _ in drawn for x in corners[::2])]
    down = [0, height, *(y for corners, _, _ in drawn for y in corners[1::2])]
    left, top = min(across), min(down)
    view = " ".join(f"{value:g}" for value in (left, top, max(across) - left, max(down) - top))
    name = _safe(picture["path"])
    return (
        f'<svg class="outlined" viewBox="{view}" role="img" aria-label="{name}"><title>{name}</title>'
        f'<image href="{picture["picture"]}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        f"{''.join(_outline(*one) for one in drawn)}</svg>"
    )


def box_cell(count: _Values, most: int, bar: Callable[[int, int], str]) -> str:
    """Return how many boxes of a class there are, and in how many images."""
    images = f"{count['images']:,} image{'s' * (count['images'] != 1)}"
    return f'{bar(count["boxes"], most)}<br><span class="of">in {images}</span>'


def box_tables(boxes: _Values, images: int, table: _Table) -> str:
    """Return the tables of ``DetectionCheck.to_dict()["boxes"]``."""
    spreads = [
        ("boxes of an image", *(f"{boxes['per_image'][key]:g}" for key in _SPREAD)),
        ("width, pixels", *(f"{boxes['width'][key]:.0f}" for key in _SPREAD)),
        ("height", *(f"{boxes['height'][key]:.0f}" for key in _SPREAD)),
        ("share of the image", *(_percent(boxes["share"][key]) for key in _SPREAD)),
    ]
    sizes = [(name, *_share(count, boxes["total"])) for name, count in boxes["sizes"].items()]
    limits = (" up to 32 x 32", " up to 96 x 96", " above")
    named = [(name + limit, *rest) for (name, *rest), limit in zip(sizes, limits, strict=True)]
    return (
        table(("", *_SPREAD), spreads)
        + table(("size in pixels", "boxes", ""), named)
        + table(("share of the image", "boxes", ""), _bins(boxes["shares"], boxes["total"], _percent))
        + table(("boxes of an image", "images", ""), _bins(boxes["images_with"], images, "{:,}".format, whole=True))
    )


def issue_groups(groups: Sequence[_Values], figure: Callable[[_Values], str]) -> str:
    """Return the images with issues, a group for each kind: ``title``, ``severity``, ``images``, how many there are."""
    return "".join(_issues(group, figure) for group in groups)


_SPREAD = ("smallest", "median", "largest")


def _issues(group: _Values, figure: Callable[[_Values], str]) -> str:
    more = group["total"] - len(group["images"])
    rest = f"<p>and {more:,} more images, in --json</p>" if more else ""
    pictures = "".join(map(figure, group["images"]))
    error = " error" if group["severity"] == "error" else ""
    return f'<div class="group{error}"><p>{_safe(group["title"])}</p><div class="row">{pictures}</div>{rest}</div>'


def _outline(corners: Sequence[float], name: str, role: str) -> str:
    x1, y1, x2, y2 = (f"{value:.6g}" for value in corners)
    return f'<path class="{role}" d="M{x1} {y1}H{x2}V{y2}H{x1}Z"><title>{_safe(name)}</title></path>'


def _within(corners: Sequence[float], limits: Sequence[float]) -> list[float]:
    """Return corners, brought near the picture if they are far away."""
    return [min(max(value, limits[place % 2]), limits[2 + place % 2]) for place, value in enumerate(corners)]


def _bins(rows: Sequence[_Values], of: int, text: Callable[[float], str], *, whole: bool = False) -> list[list[str]]:
    """Return a line for each range: its limits in words, how many there are in it, and their share."""
    tops = [row["up_to"] for row in rows]
    names = [f"up to {text(tops[0])}" if not whole else text(tops[0])]
    for low, high in pairwise(tops):
        first = low + 1 if whole else low
        names.append(
            f"above {text(low)}" if high is None else text(high) if first == high else f"{text(first)} to {text(high)}"
        )
    return [[name, *_share(row["count"], of)] for name, row in zip(names, rows, strict=True)]


def _share(count: int, of: int) -> tuple[str, str]:
    return f"{count:,}", f"{100 * count / max(1, of):.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _safe(text: object) -> str:
    return html.escape(str(text))
