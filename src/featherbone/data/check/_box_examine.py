"""Look closely at every image of a detection data set, and at every box."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from featherbone.data._box_dataset import BoxItem, BoxListing
from featherbone.data._box_faults import Fault, corners
from featherbone.data.boxes import Fitted, fit
from featherbone.data.check.detection import BoxCheck, Flaw, contents
from featherbone.data.check.examine import equal_ones, look_over, sampled
from featherbone.data.check.report import Picture
from featherbone.data.scan import shown
from featherbone.data.sources.paths import PICTURES, files_in

_SAME = 0.99  # intersection over union of boxes that are one
_COMPARED = 4096  # boxes of an image, all with all: those after them are taken to be different
_AT_ONCE = 256  # of these: rows of their table
_MOST_SAMPLES = 240  # of all classes together: larger than those of a classification data set


def examine_boxes(listing: BoxListing, *, quiet: bool) -> BoxCheck:
    """Decode every image of a listing once, in parallel, compare every box with it, and return what was found."""
    items = {
        Picture(item.source, part, "", shown(item.source, str(listing.root))): item
        for part, found in listing.parts.items()
        for item in found
    }
    looked, broken = look_over(list(items), quiet=quiet)
    fitted = [fit(items[picture], close.seen) for picture, close in looked]
    # from here on, what is on a picture is its label
    good = [
        (replace(picture, label=contents(one.truth, listing.classes)), close)
        for (picture, close), one in zip(looked, fitted, strict=True)
    ]
    both = [(picture, one) for (picture, _), one in zip(good, fitted, strict=True)]
    truths = {picture: (close.seen, one.truth) for (picture, close), one in zip(good, fitted, strict=True)}
    shows = {
        replace(picture, label=listing.classes[label]): known
        for picture, known in truths.items()
        for label in np.unique(known[1].labels[~known[1].crowd])
    }
    samples = sampled(list(shows), listing.classes, _MOST_SAMPLES)
    read = {picture for picture, _ in looked}
    gone = [p.path for p in items if p not in read and not os.path.lexists(items[p].source)]
    return BoxCheck(
        name=listing.name,
        classes=listing.classes,
        parts=tuple(listing.parts),
        seen=[(picture, close.seen) for picture, close in good],
        broken=(*listing.skipped, *broken),
        duplicates=equal_ones(good),
        samples=samples,
        format=listing.format,
        truths=truths | {sample: shows[sample] for sample in samples},
        flaws=tuple(Flaw(picture, fault) for picture, one in both for fault in (*one.faults, *_same_places(one))),
        unknown=listing.unknown,
        missing=tuple(gone),
        unlisted=tuple(_unlisted(items.values(), str(listing.root))),
        resized=tuple(picture for picture, one in both if one.resized),
        turned_boxes=sum(one.turned for one in fitted),
    )


def _same_places(fitted: Fitted) -> Iterator[Fault]:
    """Yield the boxes that lie where an earlier one does, of the same class or of another; crowds are none of them."""
    single = np.flatnonzero(~fitted.truth.crowd)[:_COMPARED]
    boxes, labels = fitted.truth.boxes[single].astype(np.float64), fitted.truth.labels[single]
    for start in range(0, len(single), _AT_ONCE):
        end = start + _AT_ONCE
        same = np.tril(_overlaps(boxes[start:end], boxes[:end]) > _SAME, start - 1)
        for row in np.flatnonzero(same.any(1)):
            alike = (labels[:end][same[row]] == labels[start + row]).any()
            place = single[start + row]
            kind = "twice" if alike else "two-classes"
            yield Fault(kind, int(fitted.places[place]) + 1, corners(fitted.truth.boxes[place]))


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of ``(N, 4)`` and ``(M, 4)`` boxes, ``(N, M)``."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = (high - low).clip(0).prod(2)
    areas, other_areas = ((one[:, 2:] - one[:, :2]).prod(1) for one in (boxes, others))
    return common / (areas[:, None] + other_areas[None] - common)


def _unlisted(items: Iterable[BoxItem], root: str) -> list[str]:
    """Return the image files that lie beside those of a data set, and what nobody has annotated of it."""
    known = {item.source: item.annotated for item in items}
    folders = sorted({source.parent for source in known})
    return [
        shown(file, root) for folder in folders for file in files_in(folder, PICTURES) if not known.get(file, False)
    ]
