"""Boxes as COCO has them: JSON with lists of images, annotations and categories."""

from __future__ import annotations

import json
import math
import mmap
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from featherbone.data.boxes import NOWHERE, as_annotated
from featherbone.data.dataset import Annotations, BoxListing, Item, RawAnnotations, Skipped, in_splits, relative
from featherbone.data.names import ALL, TEST, TRAIN, VAL, printable, split_in
from featherbone.data.sources.paths import files_in, folders_in, inside, located, named, number, split_folders
from featherbone.errors import InputError, counted, first_line, some

_IMAGES, _ANNOTATIONS = (re.compile(rb'"%s"\s*:\s*\[' % key) for key in (b"images", b"annotations"))
_BOX = re.compile(rb'"(bbox|segmentation)"\s*:')
_Key = int | float | str
_MOST_DIGITS = 20  # of an id
_Entry = Mapping[str, Any]
_INNER = ("images", "data", "JPEGImages", "imgs", "img", "Images")
_TRIED = 50  # names of images by which their folder is found


def find_coco(path: Path) -> Callable[[], BoxListing] | None:
    """Return a function that reads a ``.json`` file, or those of a folder, if they hold boxes; else ``None``.

    Raises:
        InputError: when called, if a file is damaged, names no class, or there are several for one split.
    """
    if path.is_dir():
        root, found = path, _annotation_files(path)
    else:
        root = path.parent.parent if path.parent.name.lower() == "annotations" else path.parent
        found = {ALL: [path]} if path.suffix.lower() == ".json" and _matches(path, _IMAGES, _ANNOTATIONS) else {}
    if not any(_matches(file, _BOX) for file in chain.from_iterable(found.values())):
        return None
    return partial(_read, path, root, found)


def _matches(path: Path, *patterns: re.Pattern[bytes]) -> bool:
    """Return whether a file has all of these somewhere: no parser is needed to know that it is something else."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(pattern.search(content) for pattern in patterns)


def _annotation_files(root: Path) -> dict[str, list[Path]]:
    """Return the files of each split: in the folder, in its ``annotations``, or in the folders of the splits."""
    for place in (root, named(root, "annotations")):
        if place and (files := _files(place)):
            return _by_split((split_in(file.stem) or ALL, file) for file in files)
    return _by_split((split, file) for split, folder in split_folders(root).items() for file in _files(folder))


def _files(folder: Path) -> list[Path]:
    files = [file for file in files_in(folder, [".json"]) if _matches(file, _IMAGES, _ANNOTATIONS)]
    # beside COCO's own lie those of its other tasks
    return [file for file in files if file.name.startswith("instances")] or files


def _by_split(files: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for split, file in files:
        found[split].append(file)
    return {split: files for split, files in found.items() if split != ALL or len(found) == 1}


@dataclass
class _Reading:
    """What was read from the files of a data set so far."""

    root: Path
    classes: dict[str, int] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)


def _read(path: Path, root: Path, found: Mapping[str, Sequence[Path]]) -> BoxListing:
    for split, files in found.items():
        if len(files) > 1:
            raise InputError(
                f"{path} has several annotation files ({split}): {some([f.name for f in files])}; name one"
            )
    reading = _Reading(root)
    # those to learn from come first, and so do their classes
    items = {split: _read_file(found[split][0], split, reading) for split in (TRAIN, ALL, VAL, TEST) if split in found}
    if not reading.classes:
        raise InputError(f"{path} names no class: its list of categories is empty")
    return BoxListing(
        name=str(path),
        root=root,
        format="COCO",
        splits=in_splits(items),
        classes=tuple(reading.classes),
        skipped=tuple(reading.skipped),
        annotations=frozenset(found[split][0] for split in items),
        unknown=reading.unknown,
    )


def _read_file(path: Path, split: str, reading: _Reading) -> list[Item[RawAnnotations]]:
    images, annotations, categories = _lists(path)
    labels = _labels(path, categories, reading.classes)
    of_key: dict[_Key, dict[str, _Entry]] = {}
    odd = []
    for image in images:
        name, key = inside(image.get("file_name")), _key(image.get("id"))
        if name is None or key is None:
            odd.append(image)
        else:
            of_key.setdefault(key, {})[str(name)] = image
    known = {key: next(iter(named.items())) for key, named in of_key.items() if len(named) == 1}
    of_image: dict[_Key | None, list[_Entry]] = {key: [] for key in known}
    strays = 0
    for annotation in annotations:
        key = _key(annotation.get("image_id"))
        if key in of_image:
            of_image[key].append(annotation)
        else:
            strays += 1
    several = [name for named in of_key.values() if len(named) > 1 for name in named]
    _complain(path, odd, several, strays, reading)
    find = _folders_of([name for name, _ in known.values()], path, split, reading.root)
    return [
        Item(find(name), RawAnnotations(_annotations(of_image[key], labels, reading.unknown), _size(image)))
        for key, (name, image) in known.items()
    ]


def _lists(path: Path) -> list[list[_Entry]]:
    try:
        content = json.loads(path.read_bytes(), object_hook=_without_outlines)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path} cannot be read as JSON: {first_line(error)}") from error
    lists = []
    for key in ("images", "annotations", "categories"):
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise InputError(f"{path} is no annotation file of COCO: {key!r} must be a list of objects")
        lists.append(found)
    return lists


def _without_outlines(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an object as it is read, without what would take most of the memory; an outline may stand for its box."""
    outline = entry.pop("segmentation", None)
    if outline and not entry.get("bbox"):
        entry["bbox"] = _round(outline)
    return entry


def _round(outline: object) -> list[float]:
    """Return the box round an outline: x, y, width, height; nothing if it is none (a mask that is packed)."""
    polygons = outline if isinstance(outline, list) else []
    if polygons and not isinstance(polygons[0], list):
        polygons = [polygons]
    across = [number(x) for polygon in polygons if isinstance(polygon, list) for x in polygon[::2]]
    down = [number(y) for polygon in polygons if isinstance(polygon, list) for y in polygon[1::2]]
    if len(across) != len(down) or not down or any(map(math.isnan, (*across, *down))):
        return []
    return [min(across), min(down), max(across) - min(across), max(down) - min(down)]


def _labels(path: Path, categories: Sequence[_Entry], classes: dict[str, int]) -> dict[_Key, int]:
    """Return the label of each category's id; names that are new become classes, in the order of the ids."""
    names: dict[_Key, str] = {}
    for place, category in enumerate(categories, 1):
        key, name = _key(category.get("id")), category.get("name")
        if key is None or not isinstance(name, str):
            raise InputError(f"{path}: category {place} must have an id and a name")
        own = printable(name.strip())
        if names.setdefault(key, own) != own:
            raise InputError(f"{path}: the categories {names[key]} and {own} have one id ({_said(key)})")
    ordered = sorted(names.items(), key=lambda pair: (isinstance(pair[0], str), pair[0]))
    return {key: classes.setdefault(name, len(classes)) for key, name in ordered}


def _annotations(annotations: Sequence[_Entry], labels: Mapping[_Key, int], unknown: Counter[str]) -> Annotations:
    found = []
    for annotation in annotations:
        category = annotation.get("category_id")
        key = _key(category)
        label = -1 if key is None else labels.get(key, -1)
        if label < 0:
            unknown[_said(category)] += 1
        found.append(label)
    return as_annotated(
        [_corners(annotation.get("bbox")) for annotation in annotations],
        found,
        [annotation.get("iscrowd") in (1, "1") for annotation in annotations],
    )


def _corners(written: object) -> tuple[float, float, float, float]:
    if not isinstance(written, list) or len(written) != 4:
        return NOWHERE
    x, y, width, height = map(number, written)
    return x, y, x + width, y + height


def _size(image: _Entry) -> tuple[int, int] | None:
    width, height = number(image.get("width")), number(image.get("height"))
    # zero is how some programs say that they did not look
    return (int(width), int(height)) if 0 < width < math.inf and 0 < height < math.inf else None


def _key(value: object) -> _Key | None:
    """Return an id, nothing if it is none; a whole number that a program wrote as text is that number."""
    if isinstance(value, str):
        number_in_it = value.isascii() and value.isdecimal() and len(value) < _MOST_DIGITS
        return int(value) if number_in_it and str(int(value)) == value else value
    return value if isinstance(value, int | float) and value == value else None  # noqa: PLR0124 - NaN is none


def _said(value: object) -> str:
    return printable(str(value))[:40] if _key(value) is not None else type(value).__name__


def _complain(path: Path, odd: Sequence[_Entry], several: Sequence[str], strays: int, reading: _Reading) -> None:
    """Keep what was left out of a file: a line for each kind, because there may be as many as annotations."""
    names = some([_said(image.get("file_name")) for image in odd])
    for count, noun, reason in (
        (len(odd), "image", f"without an id, or without a path inside the data set: {names}"),
        (len(several), "image", f"whose id is another image's, too, so that nobody knows whose boxes: {some(several)}"),
        (strays, "annotation", "of no image that is listed"),
    ):
        if count:
            shown = printable(str(relative(path, reading.root)))
            reading.skipped.append(Skipped(shown, f"{counted(count, noun)} {reason}"))


def _folders_of(names: Sequence[str], path: Path, split: str, root: Path) -> Callable[[str], Path]:
    """Return a function that finds an image: in the folder in which most of them are, else in another one."""
    bases = [place / inner for place in dict.fromkeys((path.parent, root)) for inner in ("", *_INNER)]
    word = split_in(path.stem) if split == ALL else split
    inner = [folder for base in bases for folder in folders_in(base) if split_in(folder.name)]
    bases += sorted(inner, key=lambda folder: split_in(folder.name) != word)
    tried = names[:: max(1, len(names) // _TRIED)]
    counts = {base: sum(os.path.isfile(located(base, name)) for name in tried) for base in bases}  # noqa: PTH113 - never raises
    found = sorted((base for base in counts if counts[base]), key=lambda base: -counts[base]) or bases[:1]

    def find(name: str) -> Path:
        return next((file for base in found if os.path.isfile(file := located(base, name))), found[0] / name)  # noqa: PTH113

    return find
