"""Open a detection data set by its path: how it is written, is recognised by looking."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from featherbone.data._box_dataset import Annotations, BoxData, BoxItem, BoxListing, BoxSet
from featherbone.data.boxes import fit, left_out, seen_upright
from featherbone.data.dataset import ImageInfo, ScanResult, Skipped, Source
from featherbone.data.names import TRAIN
from featherbone.data.scan import scan_image, scan_images, shown
from featherbone.data.sources.coco import find_coco
from featherbone.data.sources.voc import find_voc
from featherbone.data.sources.yolo import find_yolo
from featherbone.errors import InputError, counted, some

AnyPath = str | os.PathLike[str]

# asked in turn, each looks at a path and answers with what would read it, or with nothing
_FINDERS = (find_coco, find_voc, find_yolo)
_ALLOWED = (
    "a detection data set is a COCO .json file or a folder with one for each part, a folder of Pascal VOC, or one of "
    "YOLO: images/ and labels/, or data.yaml"
)

_Pair = tuple[Source, Annotations]


def is_detection(source: AnyPath) -> bool:
    """Return whether this is a data set with boxes; nothing but the layout is looked at."""
    try:
        return _reader(source) is not None
    except OSError:
        return False


def list_boxes(source: AnyPath) -> BoxListing | None:
    """Return what a detection data set names, its images not yet looked at; nothing of anything else.

    Raises:
        InputError: if it is one, and an annotation file is damaged or no class is named.
    """
    try:
        read = _reader(source)
        return read() if read else None
    except OSError as error:
        raise InputError(f"{os.fspath(source)} cannot be read: {error.strerror or error}") from error


def open_boxes(
    source: AnyPath, *, seed: int = 0, val_fraction: float = 0.2, scan: ScanResult | None = None, quiet: bool = False
) -> BoxData:
    """Open a detection data set and read every image once, in parallel; what is unusable is left out and listed.

    Args:
        source: a COCO ``.json`` file or a folder with one for each part, a folder of Pascal VOC, or one of YOLO.
            docs/data.md says what each must look like.
        seed: decides the split of what is not split.
        val_fraction: share of the images held out then.
        scan: what an earlier look found; then no image is decoded.
        quiet: show no progress bar.

    Raises:
        InputError: if it is none of these, if a part has no readable image or no box, or if ``val_fraction`` is not
            between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise InputError(f"val_fraction={val_fraction} is not allowed: above 0, below 1")
    listing = _listed(source)
    learnt, held_out = listing.learnt, listing.held_out
    if learnt is None:
        had = f"only the part {held_out}" if held_out else "it lists none"
        raise InputError(f"{listing.name} has no images to learn from: {had}")
    items = [item for part in (learnt, held_out) if part for item in listing.parts[part]]
    seen, skipped = _trusted(items, listing, scan, quiet) if scan else _look_over(items, listing, quiet)
    found, faulty = _fitted(items, seen, listing)
    skipped = scan.skipped if scan else (*skipped, *faulty)
    count = len(listing.parts[learnt])
    train, val = _kept(found[:count]), _kept(found[count:])
    if held_out:
        for part, images in ((learnt, train), (held_out, val)):
            _require_boxes(images, f"the {part} part of {listing.name}", skipped)
    else:
        _require_boxes(train, listing.name, skipped, least=2)
        train, val = _split(train, seed, val_fraction)
    return BoxData(
        name=listing.name,
        classes=listing.classes,
        channels=1 if all(one.grey for one in seen if one) else 3,
        train=BoxSet.of(train),
        val=BoxSet.of(val),
        skipped=skipped,
        root=listing.root,
    )


def boxed_images(
    source: AnyPath, classes: Sequence[str], *, part: str | None = None, quiet: bool = False
) -> tuple[BoxSet, tuple[Skipped, ...]]:
    """Return the images of a detection data set, their boxes labelled as in ``classes``, and what is left out.

    Args:
        source: as for ``open_boxes``.
        classes: the names a network knows; the data set may have fewer.
        part: "train", "val", "test" or (if nobody has split it) "all"; if not given, the held-out part if there is one.
        quiet: show no progress bar.

    Raises:
        InputError: if it is no detection data set, has no such part, has a box of an unknown class, or has no readable
            image.
    """
    listing = _listed(source)
    part = part or listing.held_out or next(iter(listing.parts), TRAIN)
    if part not in listing.parts:
        raise InputError(f"part={part!r} is not there: {listing.name} has {some(list(listing.parts)) or 'no image'}")
    items = listing.parts[part]
    seen, skipped = _look_over(items, listing, quiet)
    fitted, faulty = _fitted(items, seen, listing)
    found = _kept(fitted)
    if not found:
        raise InputError(_nothing_readable(listing.name, skipped))
    known = {name: label for label, name in enumerate(classes)}
    labels = np.array([known.get(name, -1) for name in listing.classes])
    used = {int(label) for _, truth in found for label in truth.labels}
    unknown = [listing.classes[label] for label in sorted(used) if labels[label] < 0]
    if unknown:
        raise InputError(f"in {listing.name}, {some(unknown)} is none of the known classes: {some(classes)}")
    named = [(source, Annotations(truth.boxes, labels[truth.labels], truth.crowd)) for source, truth in found]
    return BoxSet.of(named), (*skipped, *faulty)


def _reader(source: AnyPath) -> Callable[[], BoxListing] | None:
    given = os.fspath(source)
    if "://" in given or not os.path.exists(given):  # noqa: PTH110 - never raises
        return None
    path = Path(given).resolve()
    return next((read for find in _FINDERS if (read := find(path))), None)


def _listed(source: AnyPath) -> BoxListing:
    listing = list_boxes(source)
    if listing is None:
        raise InputError(f"{os.fspath(source)} is no detection data set: {_ALLOWED}")
    return listing


def _look_over(
    items: Sequence[BoxItem], listing: BoxListing, quiet: bool
) -> tuple[list[ImageInfo | None], tuple[Skipped, ...]]:
    """Return what is seen of every image, nothing for the unreadable, and these beside what was left out before."""
    verdicts = scan_images([item.source for item in items], scan_image, quiet=quiet)
    bad = [
        Skipped(shown(item.source, str(listing.root)), verdict)
        for item, verdict in zip(items, verdicts, strict=True)
        if isinstance(verdict, str)
    ]
    return [None if isinstance(verdict, str) else verdict for verdict in verdicts], (*listing.skipped, *bad)


def _trusted(
    items: Sequence[BoxItem], listing: BoxListing, scan: ScanResult, quiet: bool
) -> tuple[list[ImageInfo | None], tuple[Skipped, ...]]:
    """Return what an earlier look saw, as far as it was kept; sizes, which boxes need, from the heads of the files."""
    bad = {one.path for one in scan.skipped}
    names = [shown(item.source, str(listing.root)) for item in items]
    good = [item.source for item, name in zip(items, names, strict=True) if name not in bad]
    answers = iter(scan_images(good, seen_upright, quiet=quiet))
    verdicts = [None if name in bad else next(answers) for name in names]
    for name, verdict in zip(names, verdicts, strict=True):
        if isinstance(verdict, str):
            raise InputError(f"{name} in {listing.name} can no longer be read: {verdict}")
    mode = "L" if scan.grey else "RGB"
    return [replace(one, mode=mode) if isinstance(one, ImageInfo) else None for one in verdicts], scan.skipped


def _fitted(
    items: Sequence[BoxItem], seen: Sequence[ImageInfo | None], listing: BoxListing
) -> tuple[list[_Pair | None], tuple[Skipped, ...]]:
    """Return every image that could be read with the boxes that are kept, and which boxes are left out."""
    found: list[_Pair | None] = []
    skipped = []
    for item, one in zip(items, seen, strict=True):
        if one is None:
            found.append(None)
            continue
        fitted = fit(item, one)
        found.append((item.source, fitted.truth))
        if out := left_out(shown(item.source, str(listing.root)), fitted.faults):
            skipped.append(out)
    return found, tuple(skipped)


def _kept(found: Iterable[_Pair | None]) -> list[_Pair]:
    return [pair for pair in found if pair]


def _require_boxes(found: Sequence[_Pair], name: str, skipped: Sequence[Skipped], least: int = 1) -> None:
    if not found:
        raise InputError(_nothing_readable(name, skipped))
    boxed = sum(_has_boxes(truth) for _, truth in found)
    if boxed < least:
        wanted = "one" if least == 1 else "two, one to learn from and one held out"
        raise InputError(f"{name} has {counted(boxed, 'readable image')} with boxes: it needs {wanted}")


def _has_boxes(truth: Annotations) -> bool:
    return not truth.crowd.all()


def _nothing_readable(name: str, skipped: Sequence[Skipped]) -> str:
    first = f" (the first, {skipped[0].path}: {skipped[0].reason})" if skipped else ""
    return f"no image of {name} can be read{first}"


def _split(found: Sequence[_Pair], seed: int, val_fraction: float) -> tuple[list[_Pair], list[_Pair]]:
    """Hold out the same share of the images with boxes, at least one and never all, and of those without."""
    random = np.random.default_rng(seed)
    boxed = np.array([_has_boxes(truth) for _, truth in found])
    held: set[int] = set()
    for kind, least in ((True, 1), (False, 0)):
        members = random.permutation(np.flatnonzero(boxed == kind))
        held.update(members[: max(0, min(max(least, round(val_fraction * len(members))), len(members) - 1))].tolist())
    train = [pair for i, pair in enumerate(found) if i not in held]
    return train, [pair for i, pair in enumerate(found) if i in held]
