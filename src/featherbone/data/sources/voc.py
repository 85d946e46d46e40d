"""Boxes as Pascal VOC has them: an XML file for each image, and lists of the names in each split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from featherbone.data.boxes import NOWHERE, as_annotated
from featherbone.data.dataset import Annotations, BoxListing, Item, RawAnnotations, Skipped, in_splits, relative
from featherbone.data.names import ALL, TEST, TRAIN, VAL, composed, printable, split_of
from featherbone.data.sources.folder import walked
from featherbone.data.sources.paths import (
    IMAGE_FOLDERS,
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
_FIRST = 1 << 16  # bytes in which the outermost element begins
_TRIED = 50  # files by which annotations are known
_BOTH = "trainval"
_YEAR = re.compile(r"VOC20\d\d", re.IGNORECASE)


def find_voc(path: Path) -> Callable[[], BoxListing] | None:
    """Return a function that reads a folder with annotations in XML; ``None`` for other paths.

    They lie in its ``Annotations``, at any depth, the images in ``JPEGImages`` or ``images``; or both lie in one
    folder, be it this one or that of each split. A folder of years, as the challenge's ``VOCdevkit``, is one set.

    Raises:
        InputError: when called, if no annotation names a class, or a list of a split names no image that is there.
    """
    if not path.is_dir():
        return None
    years = [year for year in folders_in(named(path, "vocdevkit") or path) if _YEAR.fullmatch(year.name)]
    places = _places(path) or [place for year in years for place in _places(year)]
    return partial(_read, path, places) if places else None


def outermost(file: Path) -> str:
    """Return the name of the outermost element of an XML file; empty if there is none near its beginning."""
    found: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: found.append(name)
    try:
        if file.is_file():
            with file.open("rb") as opened:
                parser.Parse(opened.read(_FIRST), False)  # noqa: FBT003 - it takes no names
    except (OSError, expat.ExpatError, ValueError, LookupError):
        pass  # what comes before the damage counts
    return found[0] if found else ""


@dataclass(frozen=True)
class _Place:
    """Where the annotations and images of a split lie, and the folder whose lists may split them further."""

    split: str
    root: Path
    folder: Path
    annotations: tuple[Path, ...]
    images: tuple[Path, ...]


def _places(path: Path) -> list[_Place]:
    if apart := named(path, "annotations"):
        files = tuple(file for file in walked(apart) if file.suffix.lower() == ".xml")
        if _are_annotations(files):
            images = named(path, *IMAGE_FOLDERS)
            return [_Place(ALL, path, apart, files, (images, apart) if images else (apart, path))]
    beside = ((ALL, path), *split_folders(path).items())
    places = [_Place(split, path, here, tuple(files_in(here, [".xml"])), (here,)) for split, here in beside]
    found = [place for place in places if _are_annotations(place.annotations)]
    return found[:1] if found and found[0].split == ALL else found


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


def _are_annotations(files: Sequence[Path]) -> bool:
    """Return whether one of the files is an annotation: the first may be damaged, or something else."""
    return any(outermost(file) == "annotation" for file in files[:: max(1, len(files) // _TRIED)])


def _read(path: Path, places: Sequence[_Place]) -> BoxListing:
    skipped: list[Skipped] = []
    found: dict[str, list[_Annotated]] = {}
    used: set[Path] = set()
    for place in places:
        images = _Images.of(place.images)
        known: dict[str, _Annotated] = {}
        files = {}
        for file in place.annotations:
            key = composed(file.relative_to(place.folder).with_suffix("").as_posix())
            try:
                known[key] = _annotated(file, key, images)
                files[key] = file
            except InputError as error:
                skipped.append(Skipped(printable(str(relative(file, path))), str(error)))
                used.add(file)
        splits, lists, missing = (
            _listed(place.root, path, known) if place.split == ALL else ({place.split: known}, [], [])
        )
        skipped += missing
        used.update(lists)
        for split, of_split in splits.items():
            found.setdefault(split, []).extend(of_split.values())
            used.update(files[key] for key in of_split)
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
        annotations=frozenset(used),
        unknown=unknown,
    )


@dataclass(frozen=True)
class _Images:
    """The images of some folders, by their paths in these without suffixes, and by their names alone."""

    folders: tuple[Path, ...]
    by_path: Mapping[str, Path]
    by_name: Mapping[str, Path | None]

    @classmethod
    def of(cls, folders: tuple[Path, ...]) -> _Images:
        by_path: dict[str, Path] = {}
        by_name: dict[str, Path | None] = {}
        for folder in folders:
            for file in walked(folder):
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    by_path.setdefault(composed(file.relative_to(folder).with_suffix("").as_posix()), file)
                    name = composed(file.stem)
                    by_name[name] = file if by_name.get(name, file) == file else None
        return cls(folders, by_path, by_name)


def _listed(
    folder: Path, path: Path, everything: dict[str, _Annotated]
) -> tuple[dict[str, dict[str, _Annotated]], list[Path], list[Skipped]]:
    """Return the images of each split that a folder's lists name, and these lists; without any, all images as one.

    Raises:
        InputError: if a list names images, and none of them is there.
    """
    lists = next(filter(None, map(_lists, _list_folders(folder))), {})
    wanted = {split: split for split in (TRAIN, VAL, TEST) if split in lists}
    if TRAIN not in lists and _BOTH in lists:
        wanted = {TRAIN if wanted else ALL: _BOTH} | wanted
    keys = _Keys.of(everything)
    splits: dict[str, dict[str, _Annotated]] = {}
    skipped = []
    for split, word in wanted.items():
        written = _written(lists[word])
        found = {line: keys.find(line) for line in written}
        splits[split] = {key: everything[key] for key in found.values() if key is not None}
        missing = [printable(line)[:60] for line, key in found.items() if key is None]
        shown = printable(relative(lists[word], path).as_posix())
        if not written:
            skipped.append(Skipped(shown, "names no image"))
        if missing and not splits[split]:
            raise InputError(
                f"{path}: {shown} names {counted(len(missing), 'image')} ({some(missing, most=3)}), none of "
                "which has a usable annotation"
            )
        if missing:
            reason = f"{counted(len(missing), 'image')} without a usable annotation: {some(missing)}"
            skipped.append(Skipped(shown, reason))
    if wanted.get(TRAIN) == _BOTH:
        splits[TRAIN] = {key: one for key, one in splits[TRAIN].items() if key not in splits.get(VAL, {})}
    return splits if any(splits.values()) else {ALL: everything}, [lists[word] for word in wanted.values()], skipped


def _list_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders in which lists of the splits may lie."""
    sets = named(folder, "imagesets")
    if sets:
        yield named(sets, "main") or sets
        yield sets
    yield folder


def _lists(folder: Path) -> dict[str, Path]:
    """Return the lists of the splits in a folder, by their names: those of single classes are none."""
    files = {file.stem.lower(): file for file in files_in(folder, [".txt"])}
    words = {word: re.sub(r"[\W_]*(lists?|set|ids|images|[0-9]+)$", "", word) for word in files}
    found = {split: files[word] for word, plain in words.items() if (split := split_of(plain))}
    exact = {split: file for word, file in files.items() if (split := split_of(word))}
    return found | exact | ({_BOTH: files[_BOTH]} if _BOTH in files else {})


def _written(file: Path) -> list[str]:
    text = read_text(file, _MOST_BYTES)
    return list(dict.fromkeys(composed(line.strip()) for line in text.split("\n") if line.strip()))


@dataclass(frozen=True)
class _Keys:
    """Finds annotations by what lists call them: names, names with suffixes, paths, pairs, names with a 1 or -1."""

    keys: Mapping[str, str]

    @classmethod
    def of(cls, known: Iterable[str]) -> _Keys:
        keys: dict[str, str] = {}
        alone = Counter(PurePosixPath(key).name for key in known)
        for key in known:
            name = PurePosixPath(key).name
            for form in (key, *([name] if alone[name] == 1 else [])):
                keys.setdefault(form.lower(), key)
                keys[form] = key
        return cls(keys)

    def find(self, line: str) -> str | None:
        """Return the key that a line means, if there is one: as a whole, else its first word."""
        for written in dict.fromkeys((line, re.sub(r"\s+-?[01]$", "", line), line.split(maxsplit=1)[0])):
            path = PurePosixPath(written.replace("\\", "/"))
            known = path.suffix.lower() in IMAGE_SUFFIXES or path.suffix.lower() == ".xml"
            plain = path.with_suffix("") if known else path
            ends = (PurePosixPath(*plain.parts[first:]).as_posix() for first in range(len(plain.parts)))
            for form in ends:
                if key := self.keys.get(form) or self.keys.get(form.lower()):
                    return key
        return None


def _annotated(file: Path, key: str, images: _Images) -> _Annotated:
    """Read an annotation; its image is the one named like it, else the one that it names.

    Raises:
        InputError: if it is damaged or hostile, or there is no such image; without the path.
    """
    tree = _parsed(read_bytes(file, _MOST_BYTES))
    if tree.tag != "annotation":
        raise InputError("no annotation of Pascal VOC")
    source = images.by_path.get(key) or images.by_name.get(composed(file.stem)) or _said(tree, images.folders[0])
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
