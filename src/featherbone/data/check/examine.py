"""Look closely at every image of a data set."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from featherbone.data._box_dataset import BoxItem, BoxListing
from featherbone.data.boxes import BoxFit, Fault, corners, fit
from featherbone.data.check.classification import DataCheck
from featherbone.data.check.detection import BoxCheck, Flaw, contents
from featherbone.data.check.report import Duplicates, Picture
from featherbone.data.dataset import ImageInfo, Listing, Skipped, Source, group_of
from featherbone.data.image import UnreadableImageError, decoded, strips
from featherbone.data.names import ALL, TRAIN, in_order
from featherbone.data.scan import scan_images, shown
from featherbone.data.sources.paths import PICTURES, files_in

_SAME = 0.99  # intersection over union of boxes that are one
_COMPARED = 4096  # boxes of an image, all with all: those after them are taken to be different
_AT_ONCE = 256  # of these: rows of their table
_MOST_SAMPLES = 240  # of all classes together: larger than those of a classification data set


_MOST_SAMPLES = 600  # of all classes together: the page holds them
_OF_ONE_CLASS = 8


@dataclass(frozen=True)
class ImageDigests:
    """What was seen of an image, and digests of its pixels and of the file."""

    seen: ImageInfo
    pixels: bytes
    content: bytes


Good = list[tuple[Picture, ImageDigests]]


def examine(listing: Listing, *, quiet: bool) -> DataCheck:
    """Decode every image of a listing once, in parallel, and return what was found."""
    pictures = [
        Picture(item.source, part, item.label, shown(item.source, listing.name, number))
        for part, items in listing.parts.items()
        for number, item in enumerate(items)
    ]
    good, broken = look_over(pictures, quiet=quiet)
    readable = [picture for picture, _ in good]
    classes = (*listing.classes, *in_order({picture.label for picture in pictures} - set(listing.classes)))
    return DataCheck(
        name=listing.name,
        classes=classes,
        parts=tuple(listing.parts),
        seen=[(picture, close.seen) for picture, close in good],
        broken=(*listing.skipped, *broken),
        duplicates=equal_ones(good),
        samples=sampled(readable, classes),
        unmixed=_unmixed(readable),
    )


def look_over(pictures: Sequence[Picture], *, quiet: bool) -> tuple[Good, list[Skipped]]:
    """Return what is seen of every picture that can be read, and why the others cannot."""
    verdicts = scan_images([p.source for p in pictures], _look_closely, doing="checking images", quiet=quiet)
    both = list(zip(pictures, verdicts, strict=True))
    good = [(picture, verdict) for picture, verdict in both if isinstance(verdict, ImageDigests)]
    return good, [Skipped(picture.path, verdict) for picture, verdict in both if isinstance(verdict, str)]


def _look_closely(source: Source) -> ImageDigests:
    with decoded(source) as (image, seen):
        pixels = _digest(image)
    return ImageDigests(seen, pixels, _content(source, pixels))


def _digest(image: Image.Image) -> bytes:
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    for box in strips(image):
        digest.update(image.crop(box).convert("RGB").tobytes())
    return digest.digest()


def _content(source: Source, pixels: bytes) -> bytes:
    if isinstance(source, np.ndarray):
        return pixels
    if not isinstance(source, Path):
        return hashlib.sha256(source.read()).digest()
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error


def equal_ones(good: Good) -> tuple[Duplicates, ...]:
    """Return the pictures that are there more than once, those that harm most first."""
    equal: dict[bytes, Good] = defaultdict(list)
    for picture, close in good:
        equal[close.pixels].append((picture, close))
    groups = [
        Duplicates(tuple(p for p, _ in group), same_bytes=len({close.content for _, close in group}) == 1)
        for group in equal.values()
        if len(group) > 1
    ]
    return tuple(sorted(groups, key=lambda group: (not group.across, not group.conflicting)))


def _unmixed(pictures: Sequence[Picture]) -> int:
    """Return how many of the shards that are fetched as wholes hold one of several classes to learn."""
    learnt = [p for p in pictures if p.part in {TRAIN, ALL} and group_of(p.source)]
    labels: dict[str, set[str]] = defaultdict(set)
    for picture in learnt:
        labels[group_of(picture.source)].add(picture.label)
    several = len({picture.label for picture in learnt}) > 1
    return sum(len(found) == 1 for found in labels.values()) if several else 0


def sampled(pictures: Sequence[Picture], classes: Sequence[str], most: int = _MOST_SAMPLES) -> tuple[Picture, ...]:
    """Return some pictures of each class, spread over those to learn from (where there are none, over all)."""
    wanted = min(_OF_ONE_CLASS, max(1, most // max(1, len(classes))))
    of_class: dict[str, list[Picture]] = {name: [] for name in classes[:most]}
    learnt: set[str] = set()
    for picture in sorted(pictures, key=lambda picture: picture.part not in {TRAIN, ALL}):
        if picture.part in {TRAIN, ALL}:
            learnt.add(picture.label)
        elif picture.label in learnt:
            continue
        if picture.label in of_class:
            of_class[picture.label].append(picture)
    return tuple(chain.from_iterable(_spread(found, wanted) for found in of_class.values()))


def _spread(pictures: Sequence[Picture], wanted: int) -> Sequence[Picture]:
    if pictures and group_of(pictures[0].source):  # those of few shards: each is fetched again for the page
        return pictures[:wanted]
    places = {round(place) for place in np.linspace(0, len(pictures) - 1, min(wanted, len(pictures)))}
    return [pictures[place] for place in sorted(places)]


def examine_boxes(listing: BoxListing, *, quiet: bool) -> BoxCheck:
    """Decode every image of a listing once, in parallel, compare every box with it, and return what was found."""
    items = {
        Picture(item.source, part, "", shown(item.source, str(listing.root))): item
        for part, found in listing.parts.items()
        for item in found
    }
    scan, broken = look_over(list(items), quiet=quiet)
    fitted = [fit(items[picture], close.seen) for picture, close in scan]
    # from here on, what is on a picture is its label
    good = [
        (replace(picture, label=contents(one.truth, listing.classes)), close)
        for (picture, close), one in zip(scan, fitted, strict=True)
    ]
    both = [(picture, one) for (picture, _), one in zip(good, fitted, strict=True)]
    truths = {picture: (close.seen, one.truth) for (picture, close), one in zip(good, fitted, strict=True)}
    shows = {
        replace(picture, label=listing.classes[label]): known
        for picture, known in truths.items()
        for label in np.unique(known[1].labels[~known[1].crowd])
    }
    samples = sampled(list(shows), listing.classes, _MOST_SAMPLES)
    read = {picture for picture, _ in scan}
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


def _same_places(fitted: BoxFit) -> Iterator[Fault]:
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
