"""Images in folders named after their classes, read once in parallel so that what is broken is known beforehand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from featherbone.data.images import UnreadableImageError, is_grey, read_image, without_pillows_warnings
from featherbone.data.progress import watched
from featherbone.data.sets import ImageData, ImageSet, Skipped
from featherbone.errors import InputError, some

_VAL_NAMES = ("val", "valid", "validation", "test")


def open_folder(source: str | os.PathLike[str], *, seed: int, val_fraction: float, quiet: bool) -> ImageData:
    """Open a folder of class folders; see ``opening.open_data``."""
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
        train=ImageSet.of(train),
        val=ImageSet.of(val),
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
    return ImageSet.of([(path, label) for path, label in files if path in good]), skipped


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
            raise InputError(f"{folder} is none of the known classes: {some(classes)}")
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
        raise InputError(f"every class needs {wanted}; too few in {root} for {some(short)}")


def _split(
    items: Sequence[tuple[Path, int]], classes: int, seed: int, val_fraction: float
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
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
