"""Boxes as YOLO has them: a text file for each image, with a class and shares of the width and height in each line."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from featherbone.data.boxes import NOWHERE, as_annotated
from featherbone.data.dataset import Annotations, BoxListing, Item, RawAnnotations, Skipped, in_splits, relative
from featherbone.data.names import ALL, printable
from featherbone.data.sources.paths import (
    IMAGE_FOLDERS,
    IMAGE_SUFFIXES,
    by_split,
    files_in,
    folders_in,
    located,
    named,
    number,
    split_folders,
)
from featherbone.data.sources.yolo_description import (
    Description,
    find_description,
    images_in,
    listed_images,
    named_classes,
    read_description,
)
from featherbone.errors import InputError, counted, some
from featherbone.files import decode, read_bytes

_MOST_LABELS = 1 << 24  # bytes
_MOST_UNNAMED = 1000  # classes, where nobody has named them: a larger number is a mistake
_TRIED = 200  # images by which labels are known to be theirs
_NO_LABELS = {"classes.txt", "readme.txt"}
_BESIDE = ("obj_train_data", "data")  # folders in which labels lie beside images, as programs call them

# by this many lines key points are told from outlines if nothing says which they are
_LEAST_LINES = 5
_SPAN = 0.3  # of its box, which key points fill at least; corners of an outline, read as such, hardly ever do


def find_yolo(path: Path) -> Callable[[], BoxListing] | None:
    """Return a function that reads a description, its folder, or one with images and labels; else ``None``.

    Raises:
        InputError: when called, if the description is damaged, names no class, or names folders that are not there.
    """
    described = find_description(path)
    root = path if path.is_dir() else path.parent
    if described:
        return partial(_read_described, path, root, described)
    places = _places(path) if path.is_dir() else None
    return partial(_read, path, path, places) if places else None


def _read_described(path: Path, root: Path, file: Path) -> BoxListing:
    description = read_description(file, root)
    if not description.places:
        description.places = (found.places if (found := _places(root)) else None) or {}
    return _read(path, root, description)


def _places(root: Path) -> Description | None:
    """Return the images of each split, of a folder that has labels for some of them."""
    for layout in _layouts(root):
        images = list(chain.from_iterable(layout.places.values()))
        tried = images[:: max(1, len(images) // _TRIED)]
        labels = {image: file for image in tried if (file := _labels_of(image, root))}
        if not labels:
            continue
        names, used = named_classes([root, *dict.fromkeys(file.parent for file in labels.values()), *folders_in(root)])
        # text beside a picture may be anything
        apart = all(file.parent != image.parent for image, file in labels.items())
        if apart or names or all(map(_are_labels, labels.values())):
            layout.names = names
            layout.used += used
            return layout
    return None


def _layouts(root: Path) -> Iterator[Description]:
    """Yield the images of each split, for every way in which they may lie."""
    listed = Description(root)
    for split, file in by_split(files_in(root, (".txt",))).items():
        listed.places[split] = listed_images(file, [root], listed)
    if any(image.is_file() for images in listed.places.values() for image in images[:1]):
        yield listed
    images = named(root, *IMAGE_FOLDERS)
    if images:
        splits = {split: images_in(folder) for split, folder in split_folders(images).items()}
        yield Description(root, places=splits or {ALL: images_in(images)})
    places = {}
    for split, folder in split_folders(root).items():
        inner = named(folder, *IMAGE_FOLDERS)
        places[split] = images_in(inner) if inner else list(files_in(folder, IMAGE_SUFFIXES))
    yield Description(root, places=places)
    for flat in (root, named(root, *_BESIDE)):
        if flat:
            yield Description(root, places={ALL: list(files_in(flat, IMAGE_SUFFIXES))})


def _are_labels(file: Path) -> bool:
    """Return whether every line of a text is a class and four numbers or more."""
    try:
        lines = _lines(file)
    except InputError:
        return False
    return all(len(line) >= 5 and not any(math.isnan(number(word)) for word in line) for line in lines)


def _labels_of(image: Path, root: Path) -> Path | None:
    """Return where the labels of an image lie: in ``labels`` in place of its own folder, else beside it."""
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    places = [place for place, name in enumerate(parts[:-1]) if name.lower() in IMAGE_FOLDERS]
    apart = [
        located(root, PurePosixPath(*parts[: places[-1]], folder, *parts[places[-1] + 1 :]))
        for folder in ("labels", "Labels")
        if places
    ]
    return next((file for file in (*apart, located(root, PurePosixPath(*parts))) if file.exists()), None)


class _Line(NamedTuple):
    """A line of labels, read in both ways.

    Attributes:
        written: the class.
        values: how many there are after it.
        box: corners of what its first four values say.
        outline: corners of the box round its points; nowhere if they are none.
        points: of 2 and 3, those into which the rest can be divided so that all lie in the box and fill it.
    """

    written: str
    values: int
    box: tuple[float, float, float, float]
    outline: tuple[float, float, float, float]
    points: frozenset[int]


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


def _read(path: Path, root: Path, description: Description) -> BoxListing:
    skipped = list(description.skipped)
    lines: dict[str, list[tuple[Path, list[_Line] | None]]] = {}
    labels: set[Path] = set()
    for split, images in description.places.items():
        lines[split] = []
        for image in images:
            file = _labels_of(image, root)
            try:
                lines[split].append((image, [_line(line) for line in _lines(file)] if file else None))
            except InputError as error:
                skipped.append(Skipped(printable(str(relative(image, root))), str(error)))
                labels.add(image)
            if file:
                labels.add(file)
    every = [line for found in lines.values() for _, of_image in found for line in of_image or ()]
    values, said = _values(every, description)
    skipped += [Skipped(printable(description.file.name), reason) for reason in said]
    names = description.names
    # without names, every number is a class
    reading = _Reading({written: label for label, written in enumerate(names or range(_MOST_UNNAMED))})
    items = {
        split: [Item(image, _raw(of_image, values, reading)) for image, of_image in found]
        for split, found in lines.items()
    }
    classes = tuple(names.values()) if names else tuple(map(str, range(reading.largest + 1)))
    if not classes:
        raise InputError(f"{path} names no class, and no label has a number")
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise InputError(f"{path} gives several classes one name: {some(twice)}")
    lost = _orphans(labels, root)
    return BoxListing(
        name=str(path),
        root=root,
        format="YOLO",
        splits=in_splits(items),
        classes=classes,
        skipped=(*skipped, *(Skipped(printable(str(relative(file, root))), "labels of no image") for file in lost)),
        annotations=frozenset((*labels, *lost, *description.used)),
        unknown=reading.unknown,
    )


def _lines(file: Path) -> list[list[str]]:
    content = read_bytes(file, _MOST_LABELS)
    try:
        text = decode(content, file)
    except InputError:  # a line that is no text is a line that is wrong
        text = content.decode(errors="replace")
    return [line.split() for line in text.split("\n") if line.strip()]


def _line(words: Sequence[str]) -> _Line:
    values = list(map(number, words[1:]))
    if len(values) < 4 or any(map(math.isnan, values)):
        return _Line(words[0], len(values), NOWHERE, NOWHERE, frozenset())
    x, y, width, height = values[:4]
    box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    outline = NOWHERE
    if len(values) >= 6 and len(values) % 2 == 0:
        across, down = values[::2], values[1::2]
        outline = min(across), min(down), max(across), max(down)
    return _Line(words[0], len(values), box, outline, frozenset(n for n in (2, 3) if _are_points(values, n, box)))


def _are_points(values: Sequence[float], size: int, box: Sequence[float]) -> bool:
    """Return whether what follows a box are points of this many values that lie in it and fill it."""
    rest = values[4:]
    if not rest or len(rest) % size or (size == 3 and any(seen not in (0, 1, 2) for seen in rest[2::3])):
        return False
    points = [(x, y) for x, y in zip(rest[::size], rest[1::size], strict=True) if x or y]  # zeros: not to be seen
    if not points:
        return True
    x1, y1, x2, y2 = min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])
    within = all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in points)
    across, down = (max(side) - min(side) for side in zip(*points, strict=True))
    return within and (across >= _SPAN * (x2 - x1) or down >= _SPAN * (y2 - y1))


def _values(lines: Sequence[_Line], description: Description) -> tuple[int | None, list[str]]:
    """Return how many values a line with key points has, decided for the whole set, and what is to be said of it.

    The description says it. If it does not, there are key points where every line has as many values, and they are
    points inside the box that the first four say; else more than four values are an outline.
    """
    counts = Counter(line.values for line in lines)
    values, said = description.values, []
    if not values and len(counts) == 1 and len(lines) >= _LEAST_LINES:
        (same,) = counts
        if frozenset((2, 3)).intersection(*(line.points for line in lines)):
            values = same
            said.append(f"{counted(len(lines), 'line')} with key points behind the box, as it seems: the box is used")
    fit = {4, values} if values else {4, *(n for n in counts if n >= 6 and n % 2 == 0)}
    odd = {n: count for n, count in sorted(counts.items()) if n not in fit}
    if odd:
        found = some([f"{counted(count, 'line')} with {n}" for n, count in odd.items()])
        allowed = f"4, or {values} with key points" if values else "4, an outline 6 or more in pairs"
        hint = "" if values else "; key points need kpt_shape in data.yaml"
        said.append(f"{found} values behind the class: a box has {allowed}{hint}")
    return values, said


def _raw(lines: Sequence[_Line] | None, values: int | None, reading: _Reading) -> RawAnnotations:
    if lines is None:
        return RawAnnotations(as_annotated([], []), shares=True, annotated=False)
    return RawAnnotations(_annotations(lines, values, reading), shares=True)


def _annotations(lines: Iterable[_Line], values: int | None, reading: _Reading) -> Annotations:
    found = list(lines)
    corners = [
        line.box if line.values in (4, values) else line.outline if values is None else NOWHERE for line in found
    ]
    return as_annotated(corners, [reading.label(line.written) for line in found])


def _orphans(used: set[Path], root: Path) -> list[Path]:
    """Return the labels that no image has, of all folders in which images have theirs."""
    folders = {labels.parent for labels in used if "labels" in map(str.lower, labels.parent.relative_to(root).parts)}
    lost = [file for folder in sorted(folders) for file in files_in(folder, [".txt"]) if file not in used]
    return [file for file in lost if file.name.lower() not in _NO_LABELS]
