"""Look at a data set before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from featherbone.data.check.classification import DataCheck
from featherbone.data.check.detection import FAULTS, BoxCheck, Flaw
from featherbone.data.check.report import Picture
from featherbone.data.dataset import group_of
from featherbone.errors import needs
from featherbone.files import AnyPath, write_text
from featherbone.report.pages.data import DUPLICATES, FLAWS, OF_ONE_GROUP, data_html

_SMALL_SIDE = 96  # pixels of a picture, at most
_SIDE = 256  # of one with boxes


def check_data(source: AnyPath, *, quiet: bool = False) -> DataCheck | BoxCheck:
    """Decode every image of a data set once, in parallel: what is broken, there twice, mislabelled, odd or missing.

    Args:
        source: whatever ``train`` takes; it need not be good enough to train on.
        quiet: no progress on the error stream.

    Returns:
        The check of a detection data set, if it has boxes.

    Raises:
        InputError: if it is no data set.
    """
    with needs("train", "reading images"):
        from featherbone.data._box_open import list_boxes
        from featherbone.data.check.examine import examine, examine_boxes
        from featherbone.data.open import list_data
    if boxes := list_boxes(source):
        return examine_boxes(boxes, quiet=quiet)
    return examine(list_data(source, quiet=quiet), quiet=quiet)


def data_page(check: DataCheck | BoxCheck, path: AnyPath, *, caption: str = "", quiet: bool = False) -> None:
    """Write the page of a check: one file with pictures, that needs no net.

    Args:
        check: what ``check_data`` returned; its pictures must still be where they were.
        path: the file.
        caption: a line below the title, for example the command that made the page.
        quiet: no progress on the error stream.

    Raises:
        InputError: if the file cannot be written.
    """
    groups = check.duplicates[:DUPLICATES]
    equal = _drawn((p for group in groups for p in group.pictures[:OF_ONE_GROUP]), quiet=quiet)
    duplicates = [
        {**group.to_dict(), "images": [equal[p] for p in group.pictures[:OF_ONE_GROUP]], "count": len(group.pictures)}
        for group in groups
    ]
    if isinstance(check, BoxCheck):
        shown = _drawn(check.samples, quiet=quiet, side=_SIDE)
        samples = [_outlined(check, picture, shown[picture]) for picture in check.samples]
        flaws = _flawed(check, quiet=quiet)
    else:
        samples, flaws = list(_drawn(check.samples, quiet=quiet).values()), []
    write_text(path, data_html(check.to_dict(), samples, duplicates, flaws, caption=caption))


def _drawn(pictures: Iterable[Picture], *, quiet: bool, side: int = _SMALL_SIDE) -> dict[Picture, dict[str, Any]]:
    """Return what a page needs of every picture, in order."""
    with needs("train", "reading images"):
        from featherbone.data.scan import scan_images
        from featherbone.data.thumbnails import thumbnail
    wanted = dict.fromkeys(pictures)
    # a shard that is fetched serves all of its pictures
    fetched = sorted(wanted, key=lambda picture: group_of(picture.source))
    drawn = scan_images(
        [picture.source for picture in fetched], partial(thumbnail, side=side), doing="drawing thumbnails", quiet=quiet
    )
    found = {picture: one for picture, one in zip(fetched, drawn, strict=True) if isinstance(one, dict)}
    return {picture: {**picture.to_dict(), **found[picture]} for picture in wanted}


def _flawed(check: BoxCheck, *, quiet: bool) -> list[Mapping[str, Any]]:
    """Return the first pictures with each kind of flaw, the flaws drawn on them."""
    kinds: dict[str, dict[Picture, list[Flaw]]] = {kind: {} for kind in FAULTS}
    for flaw in check.flaws:
        pictures = kinds[flaw.fault.kind]
        if flaw.picture in pictures or len(pictures) < FLAWS:
            pictures.setdefault(flaw.picture, []).append(flaw)
    shown = _drawn((picture for pictures in kinds.values() for picture in pictures), quiet=quiet, side=_SIDE)
    return [
        {
            "kind": kind,
            "grave": FAULTS[kind][1],
            "count": len({flaw.picture for flaw in check.flaws if flaw.fault.kind == kind}),
            "images": [_outlined(check, picture, shown[picture], flaws) for picture, flaws in pictures.items()],
        }
        for kind, pictures in kinds.items()
        if pictures
    ]


def _outlined(
    check: BoxCheck, picture: Picture, drawn: Mapping[str, Any], flaws: Sequence[Flaw] = ()
) -> dict[str, Any]:
    width, height = check.size_of(picture)
    return {**drawn, "width": width, "height": height, "outlines": check.outlines(picture, flaws)}
