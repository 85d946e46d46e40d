"""Open a data set by its name, path or address: what it is, is recognised by looking."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featherbone.data._box_open import is_detection
from featherbone.data.assemble import assemble, labelled
from featherbone.data.dataset import ImageData, ImageSet, Item, Listing, ScanResult, Skipped
from featherbone.data.names import TRAIN, VAL
from featherbone.data.sources.cifar import find_cifar
from featherbone.data.sources.folder import list_folder
from featherbone.data.sources.huggingface import find_saved, list_named
from featherbone.data.sources.mnist import find_idx
from featherbone.data.sources.scikit_learn import digits
from featherbone.data.sources.shards import find_shards, list_pattern
from featherbone.data.sources.table import find_table
from featherbone.errors import InputError, needs

AnyPath = str | os.PathLike[str]

# asked in turn, each looks at a path and answers with a listing or with nothing
_FINDERS = (find_table, find_saved, find_cifar, find_idx, find_shards)
_ALLOWED = (
    "a data set is 'digits', a folder with one folder of images per class, a table of paths and labels (.csv, .tsv, "
    ".parquet), the published files of CIFAR or MNIST, shards (.tar, also at URLs), or a Hugging Face data set "
    "(hf:NAME, or its folder)"
)


def open_data(
    source: AnyPath, *, seed: int = 0, val_fraction: float = 0.2, scan: ScanResult | None = None, quiet: bool = False
) -> ImageData:
    """Open a classification data set and read every image once, in parallel; unreadable files are left out and listed.

    Args:
        source: ``"digits"``; a folder with ``train/`` and ``val/`` (or ``valid``, ``validation``, ``test``), or one
            folder of class folders, which is split; a table of paths and labels; the published files of CIFAR-10,
            CIFAR-100, MNIST or Fashion-MNIST; shards, here or at URLs; ``hf:NAME`` or a saved Hugging Face data set.
            docs/data.md says what each must look like.
        seed: decides the split of what is not split.
        val_fraction: share of each class held out then.
        scan: what an earlier look found; then no image is decoded.
        quiet: show no progress bar.

    Raises:
        InputError: if it is none of these, if a class has no readable image or there is one class only, or if
            ``val_fraction`` is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise InputError(f"val_fraction={val_fraction} is not allowed: above 0, below 1")
    return assemble(list_data(source, quiet=quiet), seed=seed, val_fraction=val_fraction, scan=scan, quiet=quiet)


def labelled_images(
    source: AnyPath, classes: Sequence[str], *, part: str | None = None, quiet: bool = False
) -> tuple[ImageSet, tuple[Skipped, ...]]:
    """Return the images of a data set, labelled as in ``classes``, and the files left out.

    Args:
        source: as for ``open_data``; of one that has a held-out part, that part.
        classes: the names a network knows; the data set may have fewer.
        part: "train", "val" or "test": this part instead.
        quiet: show no progress bar.

    Raises:
        InputError: if it is no data set, has an unknown class, or has no readable image.
    """
    return labelled(list_data(source, quiet=quiet), classes, part=part, quiet=quiet)


def same_source(given: AnyPath, name: str) -> bool:
    """Return whether ``given`` opens the data set of this name."""
    return os.fspath(given) == name or os.path.realpath(given) == name


def list_data(source: AnyPath, *, quiet: bool) -> Listing:
    """Return what a data set names, its images not yet looked at (those behind URLs are, the first time).

    Raises:
        InputError: if it is none that is known.
    """
    given = os.fspath(source)
    try:
        return _list(given, quiet=quiet)
    except OSError as error:
        raise InputError(f"{given} cannot be read: {error.strerror or error}") from error


def _list(given: str, *, quiet: bool) -> Listing:
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
        return _list_path(path.resolve())
    if pattern := list_pattern(given):
        return pattern
    raise InputError(f"no such folder: {path} ({_ALLOWED})")


def _list_path(path: Path) -> Listing:
    found = next((listing for find in _FINDERS if (listing := find(path))), None)
    if found:
        return found
    if is_detection(path):
        raise InputError(f"{path} has boxes, not classes of images: a detector learns from it; {_ALLOWED}")
    if not path.is_dir():
        raise InputError(f"{path} is a file; {_ALLOWED}")
    return list_folder(path)


def _listed(data: ImageData) -> Listing:
    parts = {
        name: [Item(source, data.classes[label]) for source, label in zip(part.sources, part.labels, strict=True)]
        for name, part in ((TRAIN, data.train), (VAL, data.val))
    }
    return Listing(data.name, parts, data.classes, size=data.size)
