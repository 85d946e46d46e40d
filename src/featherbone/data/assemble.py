"""From what a source names to images that are known to be readable, labelled and split."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from featherbone.data.dataset import ImageData, ImageInfo, ImageSet, Item, Listing, ScanResult, Skipped, Source
from featherbone.data.names import ALL, TEST, TRAIN, VAL, in_order
from featherbone.data.scan import scan_image, scan_images, shown
from featherbone.errors import InputError, some

_Pairs = list[tuple[Source, int]]


def assemble(
    listing: Listing, *, seed: int, val_fraction: float, scan: ScanResult | None = None, quiet: bool
) -> ImageData:
    """Return the data set of a listing; if it has no part to hold out, a share of every class is.

    Raises:
        InputError: if there is nothing to learn from, one class only, a class without a readable image, or a held-out
            class that is not among those to learn.
    """
    held_name = held_out(listing)
    learnt, held = _learnt(listing), listing.parts[held_name] if held_name else ()
    classes = listing.classes or in_order(item.label for item in learnt)
    if len(classes) == 1:
        raise InputError(f"{listing.name} has one {listing.kind} only ({classes[0]}): a classifier needs two or more")
    _require_known(listing.name, held, classes)
    items = [*learnt, *held]
    seen, skipped = _trusted(items, listing, scan) if scan else _look_over(items, listing, quiet)
    train = _labelled(learnt, seen[: len(learnt)], classes)
    val = _labelled(held, seen[len(learnt) :], classes)
    _require_images(classes, train, listing.name, skipped, least=1 if held_name else 2)
    if not held_name:
        train, val = _split(train, len(classes), seed, val_fraction)
    elif not val:
        raise InputError(_nothing_readable(f"the {held_name} part of {listing.name}", skipped))
    good = [one for one in seen if one]
    return ImageData(
        name=listing.name,
        classes=classes,
        channels=1 if all(one.grey for one in good) else 3,
        size=listing.size or _suitable_size([one.side for one in good]),
        train=ImageSet.of(train),
        val=ImageSet.of(val),
        skipped=skipped,
    )


def labelled(
    listing: Listing, classes: Sequence[str], *, part: str | None = None, quiet: bool
) -> tuple[ImageSet, tuple[Skipped, ...]]:
    """Return the images of a part, or the held-out ones, or all; labelled as in ``classes``; and what is left out.

    Raises:
        InputError: if there is no such part, a class is not among ``classes``, or no image can be read.
    """
    part = part or held_out(listing) or next(iter(listing.parts))
    if part not in listing.parts:
        raise InputError(f"part={part!r} is not allowed: {listing.name} has {some(tuple(listing.parts))}")
    items = listing.parts[part]
    _require_known(listing.name, items, classes)
    seen, skipped = _look_over(items, listing, quiet)
    found = _labelled(items, seen, classes)
    if not found:
        raise InputError(_nothing_readable(listing.name, skipped))
    return ImageSet.of(found), skipped


def held_out(listing: Listing) -> str | None:
    """Return the part to measure on, if there is one."""
    return next((part for part in (VAL, TEST) if part in listing.parts), None)


def _learnt(listing: Listing) -> Sequence[Item]:
    found = next((listing.parts[part] for part in (TRAIN, ALL) if part in listing.parts), None)
    if found is None:
        raise InputError(f"{listing.name} has no images to learn from: only the part {', '.join(listing.parts)}")
    return found


def _require_known(name: str, items: Sequence[Item], classes: Sequence[str]) -> None:
    unknown = in_order({item.label for item in items} - set(classes))
    if unknown:
        raise InputError(f"in {name}, {some(unknown)} is none of the known classes: {some(classes)}")


def _look_over(
    items: Sequence[Item], listing: Listing, quiet: bool
) -> tuple[list[ImageInfo | None], tuple[Skipped, ...]]:
    """Return what is seen of every image, nothing for the unreadable, and these beside what was left out before."""
    # arrays cannot be broken, and of some sources the answers were kept
    known = [scan_image(i.source) if isinstance(i.source, np.ndarray) else i.seen for i in items]
    unknown = [item.source for item, seen in zip(items, known, strict=True) if seen is None]
    answers = iter(scan_images(unknown, scan_image, quiet=quiet))
    verdicts = [seen or next(answers) for seen in known]
    bad = [
        Skipped(shown(item.source, listing.name), verdict)
        for item, verdict in zip(items, verdicts, strict=True)
        if isinstance(verdict, str)
    ]
    return [None if isinstance(verdict, str) else verdict for verdict in verdicts], (*listing.skipped, *bad)


def _trusted(
    items: Sequence[Item], listing: Listing, scan: ScanResult
) -> tuple[list[ImageInfo | None], tuple[Skipped, ...]]:
    """Return what an earlier look saw, as far as it was kept."""
    bad = {one.path for one in scan.skipped}
    good = ImageInfo(0, 0, "L" if scan.grey else "RGB")  # sizes were not kept, as nobody asks for them again
    return [None if shown(item.source, listing.name) in bad else good for item in items], scan.skipped


def _labelled(items: Sequence[Item], seen: Sequence[ImageInfo | None], classes: Sequence[str]) -> _Pairs:
    labels = {name: label for label, name in enumerate(classes)}
    return [(item.source, labels[item.label]) for item, one in zip(items, seen, strict=True) if one]


def _nothing_readable(name: str, skipped: Sequence[Skipped]) -> str:
    first = f" (the first, {skipped[0].path}: {skipped[0].reason})" if skipped else ""
    return f"no file in {name} can be read as an image{first}"


def _require_images(classes: Sequence[str], found: _Pairs, name: str, skipped: Sequence[Skipped], least: int) -> None:
    counts = np.bincount([label for _, label in found], minlength=len(classes))
    if not counts.sum():
        raise InputError(_nothing_readable(name, skipped))
    short = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < least]
    if short:
        wanted = "one readable image" if least == 1 else "two readable images, one to learn from and one held out"
        raise InputError(f"every class needs {wanted}; too few in {name} for {some(short)}")


def _split(items: _Pairs, classes: int, seed: int, val_fraction: float) -> tuple[_Pairs, _Pairs]:
    """Hold out the same share of every class, at least one image and never all."""
    random = np.random.default_rng(seed)
    labels = np.array([label for _, label in items])
    held_out: set[int] = set()
    for label in range(classes):
        members = random.permutation(np.flatnonzero(labels == label))
        held_out.update(members[: min(max(1, round(val_fraction * len(members))), len(members) - 1)].tolist())
    train = [item for i, item in enumerate(items) if i not in held_out]
    return train, [item for i, item in enumerate(items) if i in held_out]


def _suitable_size(sides: list[int]) -> int:
    side = median(sides)
    return 32 if side <= 32 else 64 if side <= 64 else 224
