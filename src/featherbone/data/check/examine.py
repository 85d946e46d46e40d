"""Look closely at every image of a data set."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from featherbone.data.check.classification import DataCheck
from featherbone.data.check.report import Duplicates, Picture
from featherbone.data.dataset import Listing, Seen, Skipped, Source, group_of
from featherbone.data.image import UnreadableImageError, decoded, strips
from featherbone.data.names import ALL, TRAIN, in_order
from featherbone.data.scan import look_at, shown

_MOST_SAMPLES = 600  # of all classes together: the page holds them
_OF_ONE_CLASS = 8


@dataclass(frozen=True)
class Close:
    """What was seen of an image, and digests of its pixels and of the file."""

    seen: Seen
    pixels: bytes
    content: bytes


Good = list[tuple[Picture, Close]]


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
    verdicts = look_at([p.source for p in pictures], _look_closely, doing="checking images", quiet=quiet)
    both = list(zip(pictures, verdicts, strict=True))
    good = [(picture, verdict) for picture, verdict in both if isinstance(verdict, Close)]
    return good, [Skipped(picture.path, verdict) for picture, verdict in both if isinstance(verdict, str)]


def _look_closely(source: Source) -> Close:
    with decoded(source) as (image, seen):
        pixels = _digest(image)
    return Close(seen, pixels, _content(source, pixels))


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
