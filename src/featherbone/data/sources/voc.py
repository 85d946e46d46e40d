"""Boxes as Pascal VOC has them: an XML file for each image, and lists of the names in each split."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from featherbone.data.boxes import NOWHERE, as_annotated
from featherbone.data.dataset import Annotations, BoxListing, Item, RawAnnotations, Skipped, in_splits, relative
from featherbone.data.names import ALL, TEST, TRAIN, VAL, composed, printable
from featherbone.data.sources.folder import walked
from featherbone.data.sources.paths import (
    IMAGE_SUFFIXES,
    files_in,
    folders_in,
    inside,
    located,
    named,
    number,
    split_folders,
)
from featherbone.errors import InputError, counted, first_line, some
from featherbone.files import read_bytes, read_text

_MOST_BYTES = 1 << 24  # of one file
_FIRST = 4096  # bytes in which the outermost element begins
_YEAR = re.compile(r"VOC20\d\d", re.IGNORECASE)
_ROOT = re.compile(rb"<annotation[\s>]")


def find_voc(path: Path) -> Callable[[], BoxListing] | None:
    """Return a function that reads a folder with annotations in XML; ``None`` for other paths.

    They lie in its ``Annotations``, the images in ``JPEGImages`` or ``images``; or both lie in one folder, be it this
    one or that of each split. A folder of years, as the challenge's ``VOCdevkit``, is one set.

    Raises:
        InputError: when called, if no annotation names a class.
    """
    if not path.is_dir():
        return None
    years = [year for year in folders_in(named(path, "vocdevkit") or path) if _YEAR.fullmatch(year.name)]
    places = _places(path) or [place for year in years for place in _places(year)]
    return partial(_read, path, places) if places else None


@dataclass(frozen=True)
class _Place:
    """Where the annotations and images of a split lie, and the folder whose lists may split them further."""

    split: str
    root: Path
    annotations: Path
    images: Path


def _places(path: Path) -> list[_Place]:
    if (apart := named(path, "annotations")) and _has_annotations(apart):
        images = named(path, "jpegimages", "images", "imgs", "img") or apart
        return [_Place(ALL, path, apart, images)]
    if _has_annotations(path):
        return [_Place(ALL, path, path, path)]
    return [_Place(split, path, here, here) for split, here in split_folders(path).items() if _has_annotations(here)]


@dataclass(frozen=True)
class _Object:
    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class _Annotated:
    source: Path
    size: tuple[int, int] | None
    objects: tuple[_Object, ...]


def _has_annotations(folder: Path) -> bool:
    for file in islice(files_in(folder, [".xml"]), 1):
        with file.open("rb") as opened:
            return bool(_ROOT.search(opened.read(_FIRST)))
    return False


def _read(path: Path, places: Sequence[_Place]) -> BoxListing:
    skipped: list[Skipped] = []
    found: dict[str, list[_Annotated]] = {}
    for place in places:
        by_stem = _by_stem(place.images)
        known: dict[str, _Annotated] = {}
        for file in files_in(place.annotations, [".xml"]):
            try:
                known[composed(file.stem)] = _annotated(file, place.images, by_stem)
            except InputError as error:
                skipped.append(Skipped(printable(str(relative(file, path))), str(error)))
        splits, missing = _listed(place.root, path, known) if place.split == ALL else ({place.split: known}, [])
        skipped += missing
        for split, images in splits.items():
            found.setdefault(split, []).extend(images.values())
    if len(found) > 1 and ALL in found:  # of a year that has no lists
        found.setdefault(TRAIN, []).extend(found.pop(ALL))
    objects = [one.name for split in found.values() for image in split for one in image.objects]
    names = sorted(set(objects) - {""})
    if not names:
        first = f" (the first left out, {skipped[0].path}: {skipped[0].reason})" if skipped else ""
        raise InputError(f"{path} names no class: no object has a name{first}")
    labels = {name: label for label, name in enumerate(names)}
    items = {split: [_item(image, labels) for image in images] for split, images in found.items()}
    unknown = {"an object without a name": objects.count("")} if "" in objects else {}
    return BoxListing(
        name=str(path),
        root=path,
        format="Pascal VOC",
        splits=in_splits(items),
        classes=tuple(labels),
        skipped=tuple(skipped),
        unknown=unknown,
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their paths in it, without suffixes."""
    files, _ = walked(folder)
    return {
        composed(file.relative_to(folder).with_suffix("").as_posix()): file
        for file in files
        if file.suffix.lower() in IMAGE_SUFFIXES
    }


def _listed(
    folder: Path, path: Path, everything: dict[str, _Annotated]
) -> tuple[dict[str, dict[str, _Annotated]], list[Skipped]]:
    """Return the images of each split that a folder's ``ImageSets/Main`` lists; if it lists none, all as one."""
    lists = {file.stem: file for file in files_in(folder / "ImageSets" / "Main", [".txt"])}
    wanted = {split: split for split in (TRAIN, VAL, TEST)}
    if TRAIN not in lists and "trainval" in lists:
        wanted = {TRAIN if TEST in lists else ALL: "trainval", TEST: TEST}
    splits: dict[str, dict[str, _Annotated]] = {}
    skipped = []
    for split, stem in wanted.items():
        if stem in lists:
            names = _names(lists[stem], everything)
            splits[split] = {name: everything[name] for name in names if name in everything}
            if missing := [printable(name)[:60] for name in names if name not in everything]:
                reason = f"{counted(len(missing), 'image')} without a usable annotation: {some(missing)}"
                skipped.append(Skipped(relative(lists[stem], path).as_posix(), reason))
    return (splits, skipped) if any(splits.values()) else ({ALL: everything}, skipped)


def _names(file: Path, known: Iterable[str]) -> list[str]:
    """Return the names in a list; those of one class have 1 or -1 behind each."""
    lines = [composed(line.strip()) for line in read_text(file, _MOST_BYTES).split("\n")]
    return list(dict.fromkeys(line if line in known else re.sub(r"\s+-?[01]$", "", line) for line in lines if line))


def _annotated(file: Path, folder: Path, images: Mapping[str, Path]) -> _Annotated:
    """Read an annotation; its image is the one named like it, else the one that it names.

    Raises:
        InputError: if it is damaged or hostile, or there is no such image; without the path.
    """
    tree = _parsed(read_bytes(file, _MOST_BYTES))
    if tree.tag != "annotation":
        raise InputError("no annotation of Pascal VOC")
    source = images.get(composed(file.stem)) or _said(tree, folder)
    width, height = (number(tree.findtext(f"size/{side}")) for side in ("width", "height"))
    stated = 0 < width < np.inf and 0 < height < np.inf  # zero is how some programs say that they did not look
    objects = tuple(_object(one) for one in tree.findall("object"))
    return _Annotated(source, (int(width), int(height)) if stated else None, objects)


def _said(tree: Element, folder: Path) -> Path:
    written = tree.findtext("filename")
    name = inside(written)
    if name is None:
        raise InputError(
            f"no image of this name, and {printable(written or 'nothing')[:80]} is not inside the data set"
        )
    return located(folder, name)


def _object(element: Element) -> _Object:
    corners = [number(element.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = corners if element.find("bndbox") is not None else NOWHERE
    return _Object(
        printable((element.findtext("name") or "").strip()),
        (x1 - 1, y1 - 1, x2, y2),  # the first pixel is 1, and the last one is part of it
        (element.findtext("difficult") or "").strip() == "1",
    )


def _item(image: _Annotated, labels: Mapping[str, int]) -> Item[RawAnnotations]:
    return Item(image.source, RawAnnotations(_annotations(image.objects, labels), image.size))


def _annotations(objects: Iterable[_Object], labels: Mapping[str, int]) -> Annotations:
    found = list(objects)
    return as_annotated(
        [one.corners for one in found], [labels.get(one.name, -1) for one in found], [one.difficult for one in found]
    )


def _parsed(content: bytes) -> Element:
    """Return the tree of an XML file that declares no entities and refers to no other file.

    Raises:
        InputError: if it is damaged, or has a document type, in which such things are declared.
    """

    def refuse(*_: object) -> None:
        raise InputError("it has a document type, which annotations do not need")

    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)  # noqa: FBT003 - it takes no names
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"damaged XML: {first_line(error)}") from error
