"""Files that a data set names more than once, and files that hold the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from featherbone.data.dataset import Annotations, Item, Listing, RawAnnotations, Skipped, Source, group_of, relative
from featherbone.data.names import printable
from featherbone.errors import InputError, counted, some
from featherbone.files import digest

L = TypeVar("L", bound=Listing[Any])

_ENDS = 4096  # bytes at either end that are compared before whole files are


def named_once(listing: L, merged: Callable[[Any, Any], Any]) -> L:
    """Return a listing in which every file is there once in a split, under whatever names and links it was listed.

    Args:
        listing: of a source.
        merged: returns what two entries of a file say together; nothing if they contradict each other, which keeps
            both.
    """
    splits: dict[str, Sequence[Item[Any]]] = {}
    notes = []
    for split, items in listing.splits.items():
        known: dict[Hashable, int] = {}
        kept: list[Item[Any]] = []
        repeated: dict[str, None] = {}
        for item in items:
            place = known.setdefault(_file(item.source), len(kept))
            together = merged(kept[place].target, item.target) if place < len(kept) else None
            if together is None:
                kept.append(item)
                continue
            kept[place] = replace(kept[place], target=together)
            repeated[printable(str(relative(Path(str(item.source)), Path(listing.place))))] = None
        splits[split] = kept
        if repeated:
            reason = f"{counted(len(repeated), 'file')} named more than once, counted once: {some(list(repeated))}"
            notes.append(Skipped(f"{split} (entries)", reason))
    return replace(listing, splits=splits, skipped=(*listing.skipped, *notes)) if notes else listing


def same_label(one: str, other: str) -> str | None:
    """Return the label that two entries of an image agree on."""
    return one if one == other else None


def all_boxes(one: RawAnnotations, other: RawAnnotations) -> RawAnnotations | None:
    """Return the boxes of two entries of an image; those that both have count once."""
    if one.shares != other.shares or (one.size and other.size and one.size != other.size):
        return None
    first, second = one.annotations, other.annotations
    known = set(map(tuple, _rows(first)))
    new = np.array([tuple(row) not in known for row in _rows(second)], bool)
    both = Annotations(
        np.concatenate([first.boxes, second.boxes[new]]),
        np.concatenate([first.labels, second.labels[new]]),
        np.concatenate([first.crowd, second.crowd[new]]),
    )
    return replace(one, annotations=both, size=one.size or other.size, annotated=one.annotated or other.annotated)


def copies(sources: Sequence[Source]) -> list[int]:
    """Return for every image the place of the first one that holds the same bytes.

    Files are compared by size, then by their ends, and only then as a whole. What lies at a URL is not compared.
    """
    groups = [list(range(len(sources)))]
    for key in (_size, _ends, _whole):
        finer: list[list[int]] = []
        for places in groups:
            alike: dict[Hashable, list[int]] = defaultdict(list)
            for place in places:
                alike[key(sources[place])].append(place)
            finer += [same for same in alike.values() if len(same) > 1]
        groups = finer
    first = list(range(len(sources)))
    for places in groups:
        for place in places:
            first[place] = places[0]
    return first


def about_copies(first: Sequence[int], targets: Sequence[Hashable], learned: int) -> tuple[str, ...]:
    """Return what is worth knowing of images that hold the same bytes: a sentence for each kind.

    Args:
        first: of every image, as ``copies`` returns it: those to learn from, then those held out.
        targets: what is said of each image, so that equal ones are equal.
        learned: how many are to learn from.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(first):
        groups[one].append(place)
    several = [places for places in groups.values() if len(places) > 1]
    across = sum(places[0] < learned <= places[-1] for places in several)
    conflicting = sum(len({targets[place] for place in places}) > 1 for places in several)
    further = sum(len(places) - 1 for places in several)
    sentences = (
        (across, "learned from and held out, too: measuring on them tests memory, not recognition"),
        (conflicting, "there with different labels: only one can be right"),
        (further, "there more than once, byte for byte"),
    )
    return tuple(f"{counted(number, 'image')} {text}" for number, text in sentences if number)


def _file(source: Source) -> Hashable:
    """Return what tells a file from others, whatever it is called; an image that is no file is one of its own."""
    if not isinstance(source, Path):
        return id(source)
    try:
        status = os.stat(source)  # noqa: PTH116 - of a million files
    except (OSError, ValueError):
        return os.path.normpath(source)
    return status.st_dev, status.st_ino


def _rows(annotations: Annotations) -> list[list[float]]:
    return np.column_stack([annotations.boxes, annotations.labels, annotations.crowd]).tolist()


def _size(source: Source) -> Hashable:
    if isinstance(source, np.ndarray):
        return source.shape
    if not isinstance(source, Path):
        return object() if group_of(source) else ()
    try:
        return os.stat(source).st_size  # noqa: PTH116 - of a million files
    except OSError:
        return object()


def _ends(source: Source) -> Hashable:
    if isinstance(source, np.ndarray):
        return hashlib.blake2b(source.tobytes()).digest()
    try:
        if not isinstance(source, Path):
            return hashlib.blake2b(source.read()).digest()
        with source.open("rb") as file:
            begins = file.read(_ENDS)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _ENDS))
            return begins, file.read(_ENDS)
    except (OSError, InputError):
        return object()


def _whole(source: Source) -> Hashable:
    try:
        return digest(source) if isinstance(source, Path) else ()
    except InputError:
        return object()
