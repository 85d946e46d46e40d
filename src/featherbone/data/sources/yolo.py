"""Boxes as YOLO has them: a text file for each image, with a class and shares of the width and height in each line."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from featherbone.data.boxes import NOWHERE, as_annotated
from featherbone.data.dataset import Annotations, BoxListing, Item, RawAnnotations, Skipped, in_splits, relative
from featherbone.data.names import ALL, TEST, TRAIN, VAL, class_list, printable
from featherbone.data.sources.folder import walked
from featherbone.data.sources.paths import (
    IMAGE_SUFFIXES,
    files_in,
    inside,
    located,
    named,
    number,
    split_folders,
)
from featherbone.errors import InputError, first_line, some
from featherbone.files import read_bytes, read_text

_SUFFIXES = (".yaml", ".yml")
_MOST_BYTES = 1 << 18  # of a description; one of a thousand classes has a tenth
_MOST_BRACKETS = 1000  # in it: the reader's time grows with the square of their depth
_MOST_LABELS = 1 << 24  # bytes
_MOST_UNNAMED = 1000  # classes, where nobody has named them: a larger number is a mistake
_NAMES = re.compile(rb"^names\s*:", re.MULTILINE)
_SPLITS = re.compile(rb"^(train|val|test)\s*:", re.MULTILINE)
_TRIED = 200  # images by which labels are known to be theirs
_LABELS = {"images": "labels", "Images": "Labels"}
_NO_LABELS = {"classes.txt", "readme.txt"}


def find_yolo(path: Path) -> Callable[[], BoxListing] | None:
    """Return a function that reads ``data.yaml``, its folder, or one with ``images`` and ``labels``; else ``None``.

    Raises:
        InputError: when called, if the description is damaged, names no class, or names folders that are not there.
    """
    if path.is_file():
        return partial(_read_described, path, path.parent, path) if _describes(path) else None
    described = next(filter(_describes, files_in(path, _SUFFIXES)), None)
    if described:
        return partial(_read_described, path, path, described)
    places = _places(path)
    return partial(_read, path, path, places, _named_classes(path), []) if places else None


def _describes(path: Path) -> bool:
    if path.suffix.lower() not in _SUFFIXES or path.stat().st_size > _MOST_BYTES:
        return False
    content = path.read_bytes()
    return bool(_NAMES.search(content) and _SPLITS.search(content))


def _read_described(path: Path, root: Path, described: Path) -> BoxListing:
    import yaml

    written = read_bytes(described, _MOST_BYTES)
    if written.count(b"[") + written.count(b"{") > _MOST_BRACKETS:
        raise InputError(f"{described} has more than {_MOST_BRACKETS} brackets: a description needs few")
    try:
        # strings only: a class may be called "no", or 007
        content = yaml.load(written, Loader=yaml.BaseLoader)  # noqa: S506 - builds no objects
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{described} cannot be read as YAML: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{described} must hold names and splits")
    classes = _classes(described, content.get("names"))
    base = inside(content.get("path"))  # one that leads elsewhere was written on another machine
    bases = [root / base, root] if base else [root]
    places: dict[str, list[Path]] = {}
    skipped = []
    for split in (TRAIN, VAL, TEST):
        try:
            places[split], refused = _said(content.get(split), bases)
            skipped += [Skipped(printable(line)[:200], "not inside the data set") for line in refused]
        except InputError as error:
            if split == TRAIN and content.get(split):
                raise InputError(f"{described}: {split} {error}") from error
            if content.get(split):  # some exporters name splits that they did not fill
                skipped.append(Skipped(printable(str(relative(described, root))), f"{split} {error}"))
    return _read(path, root, places, classes, skipped)


def _classes(path: Path, names: object) -> dict[int, str]:
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    pairs = list(numbered.items()) if isinstance(numbered, dict) else []
    if not pairs or not all(isinstance(name, str) and number(key).is_integer() for key, name in pairs):
        raise InputError(f"{path}: names must be a list of class names, or numbers with names")
    return {int(number(key)): printable(name.strip()) for key, name in sorted(pairs, key=lambda pair: number(pair[0]))}


def _said(written: object, bases: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the images of a split, and the lines of lists that lead out of the data set.

    A split is given as a folder, a text file that lists images, or several of these.

    Raises:
        InputError: if one of them is not there; without the name of the split.
    """
    found: list[Path] = []
    refused: list[str] = []
    for one in written if isinstance(written, list) else [written]:
        # some exporters count from a folder that is not there: "../train/images" lies beside the description
        name = inside(re.sub(r"^(\.\./)+", "", one.replace("\\", "/"))) if isinstance(one, str) else None
        place = next((base / name for base in bases if name and (base / name).exists()), None)
        if place is None:
            shown = printable(one)[:100] if isinstance(one, str) else type(one).__name__
            raise InputError(f"is {shown}, which must be a folder of images, or a list of them, inside {bases[-1]}")
        if place.is_dir():
            found += _images(place)
            continue
        for line in read_text(place, 64 * _MOST_LABELS).split("\n"):
            if image := inside(line.strip()):
                near = [located(base, image) for base in (place.parent, *bases)]
                found.append(next((path for path in near if path.exists()), near[0]))
            elif line.strip():
                refused.append(line.strip())
    return found, refused


def _images(folder: Path) -> list[Path]:
    return [file for file in walked(folder)[0] if file.suffix.lower() in IMAGE_SUFFIXES]


def _places(root: Path) -> dict[str, list[Path]]:
    """Return the images of each split, of a folder that has labels for some of them."""

    def has_labels(found: Mapping[str, Sequence[Path]]) -> bool:
        return any(_labels_of(image, root).is_file() for images in found.values() for image in images[:_TRIED])

    return next(filter(has_labels, _layouts(root)), {})


def _layouts(root: Path) -> Iterator[dict[str, list[Path]]]:
    """Yield the images of each split, for every way in which they may lie."""
    if (images := named(root, "images")) and named(root, "labels"):
        yield {split: _images(folder) for split, folder in split_folders(images).items()} or {ALL: _images(images)}
    inner = {split: named(folder, "images") for split, folder in split_folders(root).items()}
    yield {split: _images(folder) for split, folder in inner.items() if folder}
    if (root / "classes.txt").is_file():
        yield {ALL: list(files_in(root, IMAGE_SUFFIXES))}


def _named_classes(root: Path) -> dict[int, str] | None:
    for place in (root, named(root, "labels"), *(split_folders(root).values())):
        if place and (place / "classes.txt").is_file():
            return dict(enumerate(class_list(read_text(place / "classes.txt", _MOST_BYTES))))
    return None


def _labels_of(image: Path, root: Path) -> Path:
    """Return where the labels of an image lie: in ``labels`` in place of ``images``, else beside it."""
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    places = [place for place, name in enumerate(parts[:-1]) if name in _LABELS]
    if places:
        parts[places[-1]] = _LABELS[parts[places[-1]]]
    return located(root, PurePosixPath(*parts))


@dataclass
class _Reading:
    """What was read from the lines of a data set so far."""

    numbers: Mapping[int, int]
    unknown: Counter[str] = field(default_factory=Counter)
    largest: int = -1

    def label(self, written: str) -> int:
        """Return the label of a class number, -1 if there is none."""
        value = number(written)
        found = int(value) if value.is_integer() else -1
        label = self.numbers.get(found, -1)
        if label < 0:
            self.unknown[printable(written)[:40]] += 1
        self.largest = max(self.largest, label)
        return label


def _read(
    path: Path,
    root: Path,
    places: Mapping[str, Sequence[Path]],
    names: Mapping[int, str] | None,
    skipped: list[Skipped],
) -> BoxListing:
    # without names, every number is a class
    reading = _Reading({written: label for label, written in enumerate(names or range(_MOST_UNNAMED))})
    items: dict[str, list[Item[RawAnnotations]]] = {}
    for split, images in places.items():
        items[split] = []
        for image in images:
            try:
                items[split].append(_item(image, root, reading))
            except InputError as error:
                skipped.append(Skipped(printable(str(relative(image, root))), str(error)))
    classes = tuple(names.values()) if names else tuple(map(str, range(reading.largest + 1)))
    if not classes:
        raise InputError(f"{path} names no class, and no label has a number")
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise InputError(f"{path} gives several classes one name: {some(twice)}")
    return BoxListing(
        name=str(path),
        root=root,
        format="YOLO",
        splits=in_splits(items),
        classes=classes,
        skipped=(*skipped, *_orphans(items, root)),
        unknown=reading.unknown,
    )


def _item(image: Path, root: Path, reading: _Reading) -> Item[RawAnnotations]:
    labels = _labels_of(image, root)
    if not labels.exists():
        return Item(image, RawAnnotations(as_annotated([], []), shares=True, annotated=False))
    return Item(image, RawAnnotations(_annotations(read_text(labels, _MOST_LABELS), reading), shares=True))


def _annotations(content: str, reading: _Reading) -> Annotations:
    lines = [line.split() for line in content.split("\n") if line.strip()]
    return as_annotated([_corners(line[1:]) for line in lines], [reading.label(line[0]) for line in lines])


def _corners(words: Sequence[str]) -> tuple[float, float, float, float]:
    """Return the corners of a centre with a width and height, or of an outline of three points or more."""
    values = list(map(number, words))
    if any(map(math.isnan, values)):
        return NOWHERE
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) >= 6 and len(values) % 2 == 0:
        across, down = values[::2], values[1::2]
        return min(across), min(down), max(across), max(down)
    return NOWHERE


def _orphans(items: Mapping[str, Iterable[Item[RawAnnotations]]], root: Path) -> list[Skipped]:
    """Return the labels that no image has, of all folders in which images have theirs."""
    used = {_labels_of(Path(str(item.source)), root) for split in items.values() for item in split}
    folders = {labels.parent for labels in used if {"labels", "Labels"} & {*labels.parent.relative_to(root).parts}}
    lost = [file for folder in sorted(folders) for file in files_in(folder, [".txt"]) if file not in used]
    return [
        Skipped(printable(str(relative(file, root))), "labels of no image")
        for file in lost
        if file.name.lower() not in _NO_LABELS
    ]
