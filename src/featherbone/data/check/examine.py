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

from featherbone.data.boxes import BoxFit, BoxIssue, corners, fit, overlaps
from featherbone.data.check.classification import ClassificationCheck
from featherbone.data.check.detection import DetectionCheck, ImageIssue, contents
from featherbone.data.check.report import Duplicates, ImageRef
from featherbone.data.dataset import BoxListing, ImageInfo, Item, Listing, RawAnnotations, Skipped, Source, group_of
from featherbone.data.image import UnreadableImageError, decoded, strips
from featherbone.data.names import ALL, TRAIN, in_order
from featherbone.data.scan import scan_images, shown
from featherbone.data.sources.paths import IMAGE_SUFFIXES, files_in

_SAME = 0.99  # intersection over union of boxes that are one
_COMPARED = 4096  # boxes of an image, all with all: those after them are taken to be different
_AT_ONCE = 256  # of these: rows of their table
_MOST_SAMPLES = 600  # of all classes together: the page holds them
_MOST_BOXED_SAMPLES = 240  # of a detection data set: they are larger
_OF_ONE_CLASS = 8


@dataclass(frozen=True)
class ImageDigests:
    """What was seen of an image, and digests of its pixels and of the file."""

    info: ImageInfo
    pixels: bytes
    content: bytes


Good = list[tuple[ImageRef, ImageDigests]]


def examine(listing: Listing[str], *, quiet: bool) -> ClassificationCheck:
    """Decode every image of a listing once, in parallel, and return what was found."""
    images = [
        ImageRef(item.source, split, item.target, shown(item.source, listing.place, number))
        for split, items in listing.splits.items()
        for number, item in enumerate(items)
    ]
    good, broken = look_over(images, quiet=quiet)
    readable = [image for image, _ in good]
    classes = (*listing.classes, *in_order({image.label for image in images} - set(listing.classes)))
    return ClassificationCheck(
        name=listing.name,
        classes=classes,
        splits=tuple(listing.splits),
        seen=[(image, digests.info) for image, digests in good],
        left_out=listing.left_out,
        broken=(*listing.skipped, *broken),
        duplicates=equal_ones(good),
        samples=sampled(readable, classes),
        unmixed=_unmixed(readable),
    )


def look_over(images: Sequence[ImageRef], *, quiet: bool) -> tuple[Good, list[Skipped]]:
    """Return what is seen of every image that can be read, and why the others cannot."""
    verdicts = scan_images([p.source for p in images], _look_closely, doing="checking images", quiet=quiet)
    both = list(zip(images, verdicts, strict=True))
    good = [(image, verdict) for image, verdict in both if isinstance(verdict, ImageDigests)]
    return good, [Skipped(image.path, verdict) for image, verdict in both if isinstance(verdict, str)]


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
    """Return the groups of equal images, those that do most harm first."""
    equal: dict[bytes, Good] = defaultdict(list)
    for image, digests in good:
        equal[digests.pixels].append((image, digests))
    groups = [
        Duplicates(tuple(p for p, _ in group), same_bytes=len({digests.content for _, digests in group}) == 1)
        for group in equal.values()
        if len(group) > 1
    ]
    return tuple(sorted(groups, key=lambda group: (not group.across, not group.conflicting)))


def _unmixed(images: Sequence[ImageRef]) -> int:
    """Return how many of the shards that are fetched as wholes hold one of several classes to learn."""
    learned = [p for p in images if p.split in {TRAIN, ALL} and group_of(p.source)]
    labels: dict[str, set[str]] = defaultdict(set)
    for image in learned:
        labels[group_of(image.source)].add(image.label)
    several = len({image.label for image in learned}) > 1
    return sum(len(found) == 1 for found in labels.values()) if several else 0


def sampled(images: Sequence[ImageRef], classes: Sequence[str], most: int = _MOST_SAMPLES) -> tuple[ImageRef, ...]:
    """Return some images of each class, spread over those to learn from (where there are none, over all)."""
    wanted = min(_OF_ONE_CLASS, max(1, most // max(1, len(classes))))
    of_class: dict[str, list[ImageRef]] = {name: [] for name in classes[:most]}
    learned: set[str] = set()
    for image in sorted(images, key=lambda image: image.split not in {TRAIN, ALL}):
        if image.split in {TRAIN, ALL}:
            learned.add(image.label)
        elif image.label in learned:
            continue
        if image.label in of_class:
            of_class[image.label].append(image)
    return tuple(chain.from_iterable(_spread(found, wanted) for found in of_class.values()))


def _spread(images: Sequence[ImageRef], wanted: int) -> Sequence[ImageRef]:
    if images and group_of(images[0].source):  # those of few shards: each is fetched again for the page
        return images[:wanted]
    places = {round(place) for place in np.linspace(0, len(images) - 1, min(wanted, len(images)))}
    return [images[place] for place in sorted(places)]


def examine_boxes(listing: BoxListing, *, quiet: bool) -> DetectionCheck:
    """Decode every image of a listing once, in parallel, compare every box with it, and return what was found."""
    items = {
        ImageRef(item.source, split, "", shown(item.source, listing.place)): item
        for split, found in listing.splits.items()
        for item in found
    }
    readable, broken = look_over(list(items), quiet=quiet)
    fitted = [fit(items[image], digests.info) for image, digests in readable]
    # from here on, what is on an image is its label
    good = [
        (replace(image, label=contents(one.annotations, listing.classes)), digests)
        for (image, digests), one in zip(readable, fitted, strict=True)
    ]
    both = [(image, one) for (image, _), one in zip(good, fitted, strict=True)]
    annotated = {image: (digests.info, one.annotations) for (image, digests), one in zip(good, fitted, strict=True)}
    shows = {
        replace(image, label=listing.classes[label]): known
        for image, known in annotated.items()
        for label in np.unique(known[1].labels[~known[1].crowd])
    }
    samples = sampled(list(shows), listing.classes, _MOST_BOXED_SAMPLES)
    read = {image for image, _ in readable}
    gone = [p.path for p in items if p not in read and not os.path.lexists(str(items[p].source))]
    return DetectionCheck(
        name=listing.name,
        classes=listing.classes,
        splits=tuple(listing.splits),
        seen=[(image, digests.info) for image, digests in good],
        left_out=listing.left_out,
        broken=(*listing.skipped, *broken),
        duplicates=equal_ones(good),
        samples=samples,
        format=listing.format,
        annotated=annotated | {sample: shows[sample] for sample in samples},
        issues=tuple(ImageIssue(image, issue) for image, one in both for issue in (*one.issues, *_same_places(one))),
        unknown=listing.unknown,
        missing=tuple(gone),
        unlisted=tuple(_unlisted(items.values(), listing.place)),
        resized=tuple(image for image, one in both if one.resized),
        turned_boxes=sum(one.turned for one in fitted),
    )


def _same_places(fitted: BoxFit) -> Iterator[BoxIssue]:
    """Yield the boxes that lie where an earlier one does, of the same class or of another; crowds are none of them."""
    single = np.flatnonzero(~fitted.annotations.crowd)[:_COMPARED]
    boxes, labels = fitted.annotations.boxes[single].astype(np.float64), fitted.annotations.labels[single]
    for start in range(0, len(single), _AT_ONCE):
        end = start + _AT_ONCE
        same = np.tril(overlaps(boxes[start:end], boxes[:end]) > _SAME, start - 1)
        for row in np.flatnonzero(same.any(1)):
            alike = (labels[:end][same[row]] == labels[start + row]).any()
            place = single[start + row]
            kind = "twice" if alike else "two-classes"
            yield BoxIssue(kind, int(fitted.places[place]) + 1, corners(fitted.annotations.boxes[place]))


def _unlisted(items: Iterable[Item[RawAnnotations]], root: str) -> list[str]:
    """Return the image files that lie beside those of a data set, and what nobody has annotated of it."""
    known = {Path(str(item.source)): item.target.annotated for item in items}
    folders = sorted({source.parent for source in known})
    return [
        shown(file, root)
        for folder in folders
        for file in files_in(folder, IMAGE_SUFFIXES)
        if not known.get(file, False)
    ]
