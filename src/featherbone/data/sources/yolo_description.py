"""What describes a YOLO data set: ``data.yaml``, or darknet's ``obj.data``; and files with the names of classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from featherbone.data.dataset import Skipped
from featherbone.data.names import TRAIN, class_list, printable, split_of
from featherbone.data.sources.folder import walked
from featherbone.data.sources.paths import IMAGE_SUFFIXES, files_in, inside, located, number
from featherbone.errors import InputError, counted, first_line
from featherbone.files import decode, parse_json, read_bytes, read_text

_YAML = (".yaml", ".yml")
_MOST_BYTES = 1 << 18  # of a description; one of a thousand classes has a tenth
_MOST_BRACKETS = 1000  # in it: the reader's time grows with the square of their depth
_MOST_LIST = 1 << 30  # bytes of a list of images
_MOST_REFUSED = 20  # lines that are named one by one
_SIGNS = re.compile(rb"names\W*:.*(train|val|test)\W*:|(train|val|test)\W*:.*names\W*:", re.DOTALL)  # of a damaged one
_SETTING = re.compile(r"^\s*(\w+)\s*=\s*(.*?)\s*$")
_USUAL = ("data.yaml", "data.yml", "dataset.yaml", "obj.data")


@dataclass
class Description:
    """What describes a data set.

    Attributes:
        file: it lies here.
        names: of the numbers of classes, if it says them.
        places: images of each split, if it says them.
        values: how many values a line of labels has after its class, if these have key points.
        used: the files that were read.
        skipped: what it names that cannot be used.
    """

    file: Path
    names: Mapping[int, str] | None = None
    places: dict[str, list[Path]] = field(default_factory=dict)
    values: int | None = None
    used: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def find_description(path: Path) -> Path | None:
    """Return the file that describes a folder, the usual one first; or the file itself, if it does."""
    if path.is_file():
        return path if _describes(path) else None
    found = [file for file in files_in(path, (*_YAML, ".data")) if _describes(file)]
    usual = {file.name.lower(): file for file in found}
    return next((usual[name] for name in _USUAL if name in usual), found[0] if found else None)


def read_description(file: Path, root: Path) -> Description:
    """Read a description.

    Raises:
        InputError: if it is damaged, its names are none, or it names images to learn from that are not there.
    """
    content = _content(file)
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold names and splits")
    found = Description(file, used=[file])
    values = {str(key).strip(): value for key, value in content.items()}
    base = inside(values.get("path"))  # one that leads elsewhere was written on another machine
    bases = [root / base, root] if base else [root]
    if "names" in values:
        found.names = _names(file, values["names"], bases, found)
    found.values = _key_points(values.get("kpt_shape"))
    for key, written in values.items():
        split = split_of(key)
        if split is None or split in found.places or not written:
            continue
        try:
            found.places[split] = _said(written, bases, found)
        except InputError as error:
            if split == TRAIN:
                raise InputError(f"{file}: {key} {error}") from error
            # some exporters name splits that they did not fill
            found.skipped.append(Skipped(printable(file.name), f"{key} {error}"))
    return found


def named_classes(folders: Sequence[Path]) -> tuple[Mapping[int, str] | None, list[Path]]:
    """Return what the first of some folders with a ``classes.txt`` or ``.names`` calls its classes, and the file."""
    for folder in folders:
        lists = [file for file in files_in(folder, (".txt", ".names", ".labels")) if _is_list_of_names(file)]
        described = {file: names for file in files_in(folder, _YAML) if (names := _stated_names(file))}
        for file in (*described, *lists):
            if names := described.get(file) or lines_of(file):
                return names, [file]
    return None, []


def lines_of(file: Path) -> Mapping[int, str]:
    """Return the names in a text file with one a line."""
    return dict(enumerate(class_list(read_text(file, _MOST_BYTES))))


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder, at any depth."""
    return [file for file in walked(folder) if file.suffix.lower() in IMAGE_SUFFIXES]


def listed_images(file: Path, bases: Sequence[Path], found: Description) -> list[Path]:
    """Return the images that a text file lists, one a line; what leads out of the data set is kept in ``skipped``.

    A path that was written elsewhere is taken by its end, if that is here: ``/home/me/cells/images/1.jpg``.
    """
    found.used.append(file)
    images: list[Path] = []
    refused: list[str] = []
    for line in read_text(file, _MOST_LIST).split("\n"):
        written = line.strip()
        if not written:
            continue
        image, here = inside(written), _end_of(written, (file.parent, *bases), least=2)
        if here or image:
            images.append(here or located(file.parent, str(image)))
        else:
            refused.append(written)
    why = "not inside the data set"
    found.skipped += [Skipped(printable(line)[:200], why) for line in refused[:_MOST_REFUSED]]
    if (more := len(refused) - _MOST_REFUSED) > 0:
        found.skipped.append(Skipped(printable(file.name), f"{counted(more, 'more line')} {why}", more))
    return images


def _describes(file: Path) -> bool:
    """Return whether a file is a description, be it a damaged one: its content says so, not its name alone."""
    if file.suffix.lower() not in (*_YAML, ".data") or not file.is_file() or file.stat().st_size > _MOST_BYTES:
        return False
    try:
        content = _content(file)
    except InputError:
        return file.suffix.lower() in _YAML and bool(_SIGNS.search(file.read_bytes().replace(b"\0", b"")))
    keys = {str(key).strip() for key in content} if isinstance(content, dict) else set()
    return bool(keys & {"names", "nc", "classes"}) and any(map(split_of, keys))


def _stated_names(file: Path) -> Mapping[int, str] | None:
    """Return the names in a file that says nothing of splits."""
    try:
        content = _content(file)
        return _names(file, content["names"], [], None) if isinstance(content, dict) and "names" in content else None
    except InputError:
        return None


def _is_list_of_names(file: Path) -> bool:
    name = file.name.lower()
    return name in {"classes.txt", "_darknet.labels"} or file.suffix.lower() == ".names"


def _content(file: Path) -> object:
    """Return what a description holds, in text, lists and mappings: a class may be called "no", or 007."""
    import yaml

    text = decode(read_bytes(file, _MOST_BYTES), file)
    if file.suffix.lower() == ".data":
        return {match[1]: match[2] for line in text.split("\n") if (match := _SETTING.match(line))}
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise InputError(f"{file} has more than {_MOST_BRACKETS} brackets: a description needs few")
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - builds no objects
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if text.lstrip().startswith("{"):  # JSON with tabs is no YAML
            return parse_json(text, file)
        raise InputError(f"{file} cannot be read as YAML: {first_line(error)}") from error


def _names(file: Path, names: object, bases: Sequence[Path], found: Description | None) -> Mapping[int, str]:
    if isinstance(names, str) and (place := _end_of(names, bases)) and place.is_file():
        if found:
            found.used.append(place)
        return lines_of(place)
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    pairs = list(numbered.items()) if isinstance(numbered, dict) else []
    if not pairs or not all(isinstance(name, str) and number(key).is_integer() for key, name in pairs):
        raise InputError(f"{file}: names must be a list of class names, or numbers with names")
    return {int(number(key)): printable(name.strip()) for key, name in sorted(pairs, key=lambda pair: number(pair[0]))}


def _key_points(shape: object) -> int | None:
    """Return how many values a line has after its class: a box, and points of two or three values."""
    sides = [number(one) for one in shape] if isinstance(shape, list) else []
    good = len(sides) == 2 and sides[0].is_integer() and sides[0] > 0 and sides[1] in (2, 3)
    return 4 + int(sides[0] * sides[1]) if good else None


def _said(written: object, bases: Sequence[Path], found: Description) -> list[Path]:
    """Return the images of a split: a folder, a text file that lists images, or several of these.

    Raises:
        InputError: if one of them is not there; without the name of the split.
    """
    images: list[Path] = []
    for one in written if isinstance(written, list) else [written]:
        place = _end_of(one, bases) if isinstance(one, str) else None
        if place is None:
            shown = printable(one)[:100] if isinstance(one, str) else type(one).__name__
            raise InputError(f"is {shown}, which must be a folder of images, or a list of them, inside {bases[-1]}")
        images += images_in(place) if place.is_dir() else listed_images(place, bases, found)
    return list(dict.fromkeys(images))


def _end_of(written: str, bases: Sequence[Path], least: int = 1) -> Path | None:
    r"""Return what a path names below one of some folders; if it begins elsewhere, by its last parts.

    Exporters write ``../train/images`` for a folder beside the description, and the folders of their own machines.
    """
    given = written.strip().replace("\\", "/")
    start = re.match(r"([a-zA-Z]:)?/?(\.{0,2}/)*", given)
    absolute, text = re.match(r"[a-zA-Z]:|/", given), given[start.end() if start else 0 :]
    path = inside(text)
    if path is None or not path.parts:
        return bases[-1] if given in (".", "./") else None
    for first in range(len(path.parts)):
        end = PurePosixPath(*path.parts[first:])
        if len(end.parts) >= least or (first == 0 and not absolute):
            here = next((place for base in bases if (place := located(base, end)).exists()), None)
            if here:
                return here
    return None
