"""Labelled images for classification: a folder of class folders, or the handwritten digits that need no download."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from featherbone.data.images import UnreadableImageError, is_grey, read_image, without_pillows_warnings
from featherbone.data.progress import watched
from featherbone.errors import InputError

Source = Path | np.ndarray
S = TypeVar("S", Path, np.ndarray)

_VAL_NAMES = ("val", "valid", "validation", "test")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels, in a fixed order."""

    sources: tuple[Source, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, indices: Iterable[int]) -> ImageSet:
        """Return the images at ``indices``."""
        chosen = list(indices)
        return ImageSet(tuple(self.sources[i] for i in chosen), tuple(self.labels[i] for i in chosen))


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageData:
    """A classification data set, every image of it known to be readable.

    Attributes:
        name: ``digits`` or the folder.
        classes: names, in label order.
        channels: 1 if every image is grey, else 3.
        size: input side that suits the images: 32, 64 or 224 pixels (digits: 16).
        train: images to learn from.
        val: images held out.
        skipped: files left out.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    train: ImageSet
    val: ImageSet
    skipped: tuple[Skipped, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of every image's name (or pixels) and label: equal for equal sets."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.val):
            for source, label in zip(part.sources, part.labels, strict=True):
                digest.update(source.tobytes() if isinstance(source, np.ndarray) else _relative(source, self.name))
                digest.update(b"%d;" % label)
        return digest.hexdigest()


def open_data(
    source: str | os.PathLike[str], *, seed: int = 0, val_fraction: float = 0.2, quiet: bool = False
) -> ImageData:
    """Open a classification data set and read every image once, in parallel; unreadable files are left out and listed.

    Args:
        source: ``"digits"``, a folder with ``train/`` and ``val/`` (or ``valid``, ``validation``, ``test``), or one
            folder of class folders, which is split.
        seed: decides the split of a single folder.
        val_fraction: share of each class held out when a single folder is split.
        quiet: show no progress bar.

    Raises:
        InputError: if it is not such a folder, if a class has no readable image or there is one class only, or if
            ``val_fraction`` is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise InputError(f"val_fraction={val_fraction} is not allowed: above 0, below 1")
    if os.fspath(source) == "digits":
        return _digits()
    root = _folder(source)
    inner = _first_folder(root, ("train",))
    train_root = inner or root
    val_root = _first_folder(root, _VAL_NAMES) if inner else None
    classes = _class_names(train_root)
    files = _labelled_files(train_root, classes)
    held_out = _labelled_files(val_root, classes) if val_root else []
    good, skipped, grey, sides = _check([path for path, _ in files + held_out], root, quiet)
    train, val = ([(p, y) for p, y in part if p in good] for part in (files, held_out))
    _require_images(classes, train, train_root, skipped, least=1 if val_root else 2)
    if not val_root:
        train, val = _split(train, len(classes), seed, val_fraction)
    elif not val:
        raise InputError(_nothing_readable(val_root, skipped))
    return ImageData(
        name=str(root),
        classes=classes,
        channels=1 if grey else 3,
        size=_suitable_size(sides),
        train=_image_set(train),
        val=_image_set(val),
        skipped=skipped,
    )


def labelled_images(
    source: str | os.PathLike[str], classes: Sequence[str], *, quiet: bool = False
) -> tuple[ImageSet, tuple[Skipped, ...]]:
    """Return the images of a folder of class folders, labelled as in ``classes``, and the files left out.

    Args:
        source: the folder, or one that holds it as ``val``, ``valid``, ``validation`` or ``test``.
        classes: the names a network knows; the folder may have fewer.
        quiet: show no progress bar.

    Raises:
        InputError: if it is no such folder, has an unknown class, or has no readable image.
    """
    root = _folder(source)
    root = _first_folder(root, _VAL_NAMES) or root
    files = _labelled_files(root, classes)
    good, skipped, _, _ = _check([path for path, _ in files], root, quiet)
    if not good:
        raise InputError(_nothing_readable(root, skipped))
    return _image_set([(path, label) for path, label in files if path in good]), skipped


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that ``paths`` name: files themselves, everything inside folders, matches of shell patterns.

    Raises:
        InputError: if a path names nothing.
    """
    found: list[Path] = []
    for given in map(Path, paths):
        if given.is_dir():
            matches = _files(given)
        elif given.exists():
            matches = [given]
        else:
            parent = Path(given.anchor or ".")
            matches = sorted(m for m in parent.glob(str(given.relative_to(given.anchor))) if m.is_file())
        if not matches:
            raise InputError(f"no such file, folder or pattern with images: {given}")
        found += matches
    return found


def photographs() -> list[np.ndarray]:
    """Return two real photographs that come with scikit-learn, as arrays ``(427, 640, 3)`` of uint8."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def _digits() -> ImageData:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8), stored as 0..16
    everything = [(image, int(label)) for image, label in zip(pixels, digits.target, strict=True)]
    # one split for all runs, and one that anybody can repeat with scikit-learn alone: results are comparable
    train, val = train_test_split(everything, test_size=0.2, stratify=digits.target, random_state=0)
    return ImageData(
        name="digits",
        classes=tuple(str(d) for d in range(10)),
        channels=1,
        size=16,
        train=_image_set(train),
        val=_image_set(val),
    )


def _folder(source: str | os.PathLike[str]) -> Path:
    root = Path(source)
    if not root.exists():
        raise InputError(f"no such folder: {root} (a data set is 'digits' or a folder of class folders)")
    if not root.is_dir():
        raise InputError(f"{root} is a file; a data set is 'digits' or a folder with one folder of images per class")
    return root.resolve()


def _first_folder(root: Path, names: Iterable[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _nothing_readable(root: Path, skipped: Sequence[Skipped]) -> str:
    first = f" (the first, {skipped[0].path}: {skipped[0].reason})" if skipped else ""
    return f"no file in {root} can be read as an image{first}"


def _class_names(root: Path) -> tuple[str, ...]:
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise InputError(
            f"{root} has no class folders: put the images of each class in a folder of its own, {root}/CLASS/"
        )
    if len(names) == 1:
        raise InputError(f"{root} has one class folder only ({names[0]}): a classifier needs two or more")
    return tuple(names)


def _labelled_files(root: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    labels = {name: label for label, name in enumerate(classes)}
    files = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if folder.name not in labels:
            raise InputError(f"{folder} is none of the known classes: {_some(classes)}")
        files += [(path, labels[folder.name]) for path in _files(folder)]
    return files


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def _check(paths: list[Path], root: Path, quiet: bool) -> tuple[set[Path], tuple[Skipped, ...], bool, list[int]]:
    def look(path: Path) -> tuple[bool, int] | str:
        try:
            image = read_image(path)  # complains of everything that is_grey could stumble over
            return is_grey(path), min(image.size)
        except UnreadableImageError as error:
            return str(error)

    with without_pillows_warnings(), ThreadPoolExecutor() as pool:  # Pillow's decoders release the interpreter lock
        answers = watched(pool.map(look, paths), "reading images", total=len(paths), quiet=quiet)
        verdicts = list(zip(paths, answers, strict=True))
    skipped = tuple(Skipped(str(p.relative_to(root)), v) for p, v in verdicts if isinstance(v, str))
    seen = [(p, *v) for p, v in verdicts if not isinstance(v, str)]
    return {p for p, _, _ in seen}, skipped, all(grey for _, grey, _ in seen), [side for _, _, side in seen]


def _require_images(
    classes: Sequence[str], found: list[tuple[Path, int]], root: Path, skipped: Sequence[Skipped], least: int
) -> None:
    counts = np.bincount([label for _, label in found], minlength=len(classes))
    if not counts.sum():
        raise InputError(_nothing_readable(root, skipped))
    short = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < least]
    if short:
        wanted = "one readable image" if least == 1 else "two readable images, one to learn from and one held out"
        raise InputError(f"every class needs {wanted}; too few in {root} for {_some(short)}")


def _split(
    items: Sequence[tuple[S, int]], classes: int, seed: int, val_fraction: float
) -> tuple[list[tuple[S, int]], list[tuple[S, int]]]:
    """Hold out the same share of every class, at least one image and never all."""
    random = np.random.default_rng(seed)
    labels = np.array([label for _, label in items])
    held_out: set[int] = set()
    for label in range(classes):
        members = random.permutation(np.flatnonzero(labels == label))
        held_out.update(members[: min(max(1, round(val_fraction * len(members))), len(members) - 1)].tolist())
    train = [item for i, item in enumerate(items) if i not in held_out]
    return train, [item for i, item in enumerate(items) if i in held_out]


def _image_set(items: Sequence[tuple[Source, int]]) -> ImageSet:
    return ImageSet(tuple(s for s, _ in items), tuple(y for _, y in items))


def _suitable_size(sides: list[int]) -> int:
    side = median(sides)
    return 32 if side <= 32 else 64 if side <= 64 else 224


def _relative(path: Path, root: str) -> bytes:
    return path.relative_to(root).as_posix().encode() + b"\0"


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
