"""Open a data set by its name, path or address; its kind is recognized by its layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from featherbone.data.assemble import Assembler, BoxAssembler, D, LabelAssembler
from featherbone.data.dataset import (
    Annotations,
    BoxListing,
    ClassificationData,
    Dataset,
    DetectionData,
    Item,
    Listing,
    R,
    RawAnnotations,
    ScanResult,
    Skipped,
    T,
    origins_of,
)
from featherbone.data.duplicates import all_boxes, named_once, same_label
from featherbone.data.names import TRAIN, VAL
from featherbone.data.sources.annotation_tools import refuse_other_tools
from featherbone.data.sources.cifar import find_cifar
from featherbone.data.sources.coco import find_coco
from featherbone.data.sources.folder import has_images, list_folder
from featherbone.data.sources.huggingface import find_saved, list_named
from featherbone.data.sources.mnist import find_idx
from featherbone.data.sources.paths import IMAGE_SUFFIXES, files_in, folders_in
from featherbone.data.sources.remainder import remainder
from featherbone.data.sources.scikit_learn import digits
from featherbone.data.sources.shards import find_shards, list_pattern
from featherbone.data.sources.table import find_table
from featherbone.data.sources.voc import find_voc
from featherbone.data.sources.yolo import find_yolo
from featherbone.errors import InputError, masked, needs, some
from featherbone.files import AnyPath

L = TypeVar("L", bound=Listing[Any])

# asked in turn; each looks at a path and returns a listing, or nothing
_FINDERS = (find_table, find_saved, find_cifar, find_idx, find_shards)
_ALLOWED = (
    "a data set is 'digits', a folder with one folder of images per class, a table of paths and labels (.csv, .tsv, "
    ".parquet), the published files of CIFAR or MNIST, shards (.tar, also at URLs), or a Hugging Face data set "
    "(hf:NAME, or its folder)"
)
# the same for boxes; each returns a function that reads the data set, or nothing
_BOX_FINDERS: dict[str, Callable[[Path], Callable[[], BoxListing] | None]] = {
    "COCO": find_coco,
    "Pascal VOC": find_voc,
    "YOLO": find_yolo,
}
_MOST_INNER = 64  # folders that may each be a data set; more are classes
_ALLOWED_BOXES = (
    "a detection data set is a COCO .json file or a folder with one for each split, a folder of Pascal VOC, or one of "
    "YOLO: images/ and labels/, or data.yaml"
)


@dataclass(frozen=True)
class Opener(Generic[R, T, D]):
    """How the data sets of one kind are opened.

    Attributes:
        finds: whether a source is one; nothing but its layout is looked at.
        list: what a source names, its images not yet looked at.
        assembler: the way from there to a data set.
    """

    finds: Callable[[AnyPath], bool]
    list: Callable[..., Listing[R]]
    assembler: Assembler[R, T, D]

    def open(
        self,
        source: AnyPath,
        *,
        seed: int = 0,
        val_fraction: float = 0.2,
        scan: ScanResult | None = None,
        quiet: bool = False,
    ) -> D:
        """Open a data set and read every image once, in parallel; what cannot be used is left out and listed.

        Args:
            source: docs/data.md says what each kind must look like.
            seed: decides the split of what is not split.
            val_fraction: share of the images (of each class) held out then.
            scan: what an earlier look found; then no image is decoded.
            quiet: show no progress bar.

        Raises:
            InputError: if it is no such data set, if there is nothing in it to learn from or to measure on, or if
                ``val_fraction`` is not between 0 and 1.
        """
        if not 0 < val_fraction < 1:
            raise InputError(f"val_fraction={val_fraction} is not allowed: above 0, below 1")
        listing = self.list(source, quiet=quiet)
        return self.assembler.data(listing, seed=seed, val_fraction=val_fraction, scan=scan, quiet=quiet)

    def images(
        self, source: AnyPath, classes: Sequence[str], *, split: str | None = None, quiet: bool = False
    ) -> tuple[Dataset[T], tuple[Skipped, ...]]:
        """Return the images of a data set, labels as in ``classes``, and what is left out.

        Args:
            source: as for ``open``.
            classes: the names a network knows; the data set may have fewer.
            split: "train", "val", "test" or (if nobody has split it) "all"; default: the held-out one if there is one.
            quiet: show no progress bar.

        Raises:
            InputError: if it is no such data set, has no such split, has an unknown class, or no readable image.
        """
        return self.assembler.images(self.list(source, quiet=quiet), classes, split=split, quiet=quiet)


def same_source(given: AnyPath, name: str) -> bool:
    """Return whether ``given`` opens the data set of this name."""
    return masked(os.fspath(given)) == name or os.path.realpath(given) == name


def is_detection(source: AnyPath) -> bool:
    """Return whether this is a data set with boxes; nothing but the layout is looked at."""
    try:
        return _reader(source) is not None
    except OSError:
        return False


def list_boxes(source: AnyPath, *, quiet: bool = False) -> BoxListing:
    """Return what a detection data set names, its images not yet looked at.

    Raises:
        InputError: if it is none, an annotation file is damaged, or no class is named.
    """
    try:
        read = _reader(source)
        if read is None:
            given = os.fspath(source)
            if "://" not in given and os.path.exists(given):  # noqa: PTH110 - never raises
                refuse_other_tools(Path(given))
            raise InputError(f"{given} is no detection data set: {_ALLOWED_BOXES}")
        return named_once(read(), all_boxes)
    except OSError as error:
        raise InputError(f"{os.fspath(source)} cannot be read: {error.strerror or error}") from error


def list_data(source: AnyPath, *, quiet: bool) -> Listing[str]:
    """Return what a classification data set names; its images are not looked at (those behind URLs are, once).

    Raises:
        InputError: if it is none that is known.
    """
    given = os.fspath(source)
    try:
        return named_once(_list(given, quiet=quiet), same_label)
    except OSError as error:
        raise InputError(f"{given} cannot be read: {error.strerror or error}") from error


def _reader(source: AnyPath) -> Callable[[], BoxListing] | None:
    given = os.fspath(source)
    if "://" in given or not os.path.exists(given):  # noqa: PTH110 - never raises
        return None
    path = Path(given).resolve()
    if found := _kinds(path):
        return partial(_read, path, path, found)
    folders = folders_in(path)
    if len(folders) > _MOST_INNER:
        return None
    inner = {folder: kinds for folder in folders if (kinds := _kinds(folder))}
    return partial(_read_inner, path, inner, folders) if inner else None


def _kinds(path: Path) -> dict[str, Callable[[], BoxListing]]:
    return {kind: read for kind, find in _BOX_FINDERS.items() if (read := find(path))}


def _read(path: Path, place: Path, kinds: Mapping[str, Callable[[], BoxListing]]) -> BoxListing:
    """Read the first of the kinds that were recognized; say which others were, and what was left out."""
    first, *others = kinds
    listing = kinds[first]()
    if others:
        reason = f"{some(others)} is here, too, and was not read: the boxes are those of {first}"
        listing = replace(listing, left_out=(Skipped(".", reason, 0), *listing.left_out))
    if place != path:
        listing = replace(listing, name=str(path))
    return _with_remainder(path, listing)


def _read_inner(
    path: Path, inner: Mapping[Path, Mapping[str, Callable[[], BoxListing]]], folders: Sequence[Path]
) -> BoxListing:
    """Read the one data set that lies in a folder of this one."""
    others = [f"{place.name} ({some(list(kinds))})" for place, kinds in inner.items()]
    others += [f"{folder.name} (images)" for folder in folders if folder not in inner and has_images(folder)]
    if len(others) > 1 or any(files_in(path, IMAGE_SUFFIXES)):
        raise InputError(f"{path} holds several things: name one of {some(others)}")
    ((place, kinds),) = inner.items()
    return _read(path, place, kinds)


def _with_remainder(path: Path, listing: L) -> L:
    """Return a listing with what lies in its folder and is no part of it; what one file names is all there is."""
    sources = (item.source for items in listing.splits.values() for item in items)
    used = {*listing.annotations, *(one for source in sources for one in origins_of(source) if isinstance(one, Path))}
    if not path.is_dir() or not used:
        return listing
    return replace(listing, left_out=(*listing.left_out, *remainder(path, used, listing.splits)))


def _list(given: str, *, quiet: bool) -> Listing[str]:
    if given == "digits":
        return _listed(digits())
    if given.startswith("hf:"):
        return list_named(given, quiet=quiet)
    if "://" in given:
        with needs("train", "reading shards at URLs"):
            from featherbone.data.sources.remote import list_remote
        return list_remote(given, quiet=quiet)
    path = Path(given)
    if path.exists():
        return _with_remainder(path.resolve(), _list_path(path.resolve()))
    if pattern := list_pattern(given):
        return pattern
    raise InputError(f"no such folder: {path} ({_ALLOWED})")


def _list_path(path: Path) -> Listing[str]:
    found = next((listing for find in _FINDERS if (listing := find(path))), None)
    if found:
        return found
    if is_detection(path):
        raise InputError(f"{path} has boxes, not classes of images: a detector learns from it; {_ALLOWED}")
    refuse_other_tools(path)
    if not path.is_dir():
        raise InputError(f"{path} is a file; {_ALLOWED}")
    return list_folder(path)


def _listed(data: ClassificationData) -> Listing[str]:
    splits = {
        name: [Item(s, data.classes[label]) for s, label in zip(split.sources, split.targets, strict=True)]
        for name, split in ((TRAIN, data.train), (VAL, data.val))
    }
    return Listing(name=data.name, splits=splits, classes=data.classes, size=data.size)


def _anything(_: Any) -> bool:
    return True


CLASSIFICATION: Opener[str, int, ClassificationData] = Opener(_anything, list_data, LabelAssembler())
DETECTION: Opener[RawAnnotations, Annotations, DetectionData] = Opener(is_detection, list_boxes, BoxAssembler())
