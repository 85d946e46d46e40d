"""Shards as WebDataset has them: tar files of ``KEY.jpg`` beside ``KEY.cls`` or ``KEY.json``, read where they lie."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featherbone.data.dataset import Item, Listing, Skipped
from featherbone.data.image import UnreadableImageError
from featherbone.data.names import ALL, TEST, TRAIN, VAL, class_list, printable, split_in, split_of
from featherbone.data.scan import shown
from featherbone.data.sources.tar import Sample, samples_of
from featherbone.errors import InputError, some
from featherbone.files import decode, parse_json, read_bytes

CLASS_FILES = ("classes.txt", "classes.json")
_MOST_SHARDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """An image inside a tar file that lies here."""

    archive: Path
    name: str
    offset: int
    size: int
    group: str = ""  # read by itself, like a file

    @property
    def origins(self) -> tuple[Path]:
        """The tar file."""
        return (self.archive,)

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            UnreadableImageError: if the tar file has become shorter.
            InputError: if it cannot be read.
        """
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                return exactly(file.read(self.size), self.size)
        except OSError as error:
            raise InputError(f"{self.archive} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class Shard:
    """What one shard holds.

    Attributes:
        name: relative to the folder that all shards share; the words in it say the split.
        items: images with the label as it stands there: a number or a name.
        skipped: what is no labelled image.
    """

    name: str
    items: Sequence[Item[str]]
    skipped: Sequence[Skipped] = ()


def find_shards(path: Path) -> Listing[str] | None:
    """Return the images of a tar file, or of a folder of tar files (or of its ``train``, ``val`` ...), or ``None``.

    Raises:
        InputError: if there is no labelled image in them, or they are packed.
    """
    if path.is_file() and path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise InputError(f"{path} is packed as a whole, and cannot be read at random: unpack it to a plain .tar")
    if path.is_file():
        return _listed(str(path), path.parent, [path]) if path.suffix.lower() == ".tar" else None
    tars = _tars(path)
    return _listed(str(path), path, tars) if tars else None


def list_pattern(pattern: str) -> Listing[str] | None:
    """Return the images of the local shards that a pattern such as ``train-{000..099}.tar`` names, or ``None``.

    Raises:
        InputError: if one of them is not there, or there is no labelled image in them.
    """
    name = os.path.realpath(pattern)
    tars: list[Path] = []
    for expanded in expand(name):
        matches = sorted(glob.glob(expanded))  # noqa: PTH207 - the pattern is absolute
        if not matches and expanded != name:
            raise InputError(f"no such shard: {expanded}")
        tars += map(Path, matches)
    return _listed(name, Path(os.path.commonpath([tar.parent for tar in tars])), tars) if tars else None


def expand(pattern: str) -> list[str]:
    """Return the names that a pattern with braces stands for, sorted.

    Raises:
        InputError: if the braces are of another kind, or stand for more than a million names.

    >>> expand("{train-{08..10},val}.tar")
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val.tar']
    """
    names = {pattern}
    while any("{" in name for name in names):
        names = {longer for name in names for longer in _expand_one(name)}
        if len(names) > _MOST_SHARDS:
            raise InputError(f"{pattern} stands for more than {_MOST_SHARDS:,} shards")
    return sorted(names)


def listing_of(name: str, shards: Sequence[Shard], classes: Sequence[str]) -> Listing[str]:
    """Return the listing of shards; the names of classes, if there are, stand for numbers.

    Raises:
        InputError: if there is no labelled image, or only some of the shards say of which split they are.
    """
    said = [split_in(shard.name) for shard in shards]
    unclear = [shard.name for shard, split in zip(shards, said, strict=True) if not split]
    if unclear and len(unclear) < len(shards):
        raise InputError(f"in {name}, some shards are named after train, val or test, but not {some(unclear)}")
    splits: dict[str, list[Item[str]]] = {}
    skipped = [one for shard in shards for one in shard.skipped]
    for shard, split in zip(shards, said, strict=True):
        for item in shard.items:
            label = _named(item.target, classes)
            if label is None:
                skipped.append(
                    Skipped(shown(item.source, name), f"its label {item.target} is not among the class names")
                )
            else:
                splits.setdefault(split or ALL, []).append(replace(item, target=label))
    if not splits:
        first = f" (the first, {skipped[0].path}: {skipped[0].reason})" if skipped else ""
        raise InputError(f"{name} has no image KEY.jpg with its label in KEY.cls or KEY.json{first}")
    ordered = {split: splits[split] for split in (TRAIN, VAL, TEST, ALL) if split in splits}
    return Listing(name=name, splits=ordered, classes=tuple(classes), skipped=tuple(skipped))


def inside(shard: str, odd: Iterable[Skipped]) -> list[Skipped]:
    """Return what cannot be used of a shard, by names that hold for all shards."""
    return [Skipped(f"{shard}/{one.path}" if one.path else shard, one.reason) for one in odd]


def class_names(file: str, content: bytes) -> tuple[str, ...]:
    """Return the names in ``classes.txt`` (one a line) or ``classes.json`` (a list, or numbers with names).

    Raises:
        InputError: if it is not of that form.
    """
    if not file.endswith(".json"):
        return class_list(decode(content, file))
    found = parse_json(content, file)
    if isinstance(found, list):
        found = {str(number): name for number, name in enumerate(found)}
    names = [found.get(str(number)) for number in range(len(found))] if isinstance(found, dict) else [None]
    if not all(isinstance(name, (str, int, float)) for name in names):
        raise InputError(f"{file} cannot be read as names of classes, in the order of their numbers")
    return tuple(printable(str(name).strip()) for name in names)


def exactly(content: bytes, size: int) -> bytes:
    """Return the content, which must have this size.

    Raises:
        UnreadableImageError: if it is shorter.
    """
    if len(content) != size:
        raise UnreadableImageError("its shard is cut short")
    return content


def _listed(name: str, root: Path, tars: Sequence[Path]) -> Listing[str]:
    folders = dict.fromkeys([root, *(tar.parent for tar in tars)])
    files = [file for folder in folders for known in CLASS_FILES if (file := folder / known).is_file()]
    classes = class_names(files[0].name, read_bytes(files[0])) if files else ()
    found = listing_of(name, [_local(tar, printable(tar.relative_to(root).as_posix())) for tar in tars], classes)
    return replace(found, annotations=frozenset((*files[:1], *tars)))


def _local(path: Path, name: str) -> Shard:
    def item(sample: Sample) -> Item[str]:
        return Item(Member(path, f"{name}/{sample.name}", sample.offset, sample.size), sample.label)

    try:
        with path.open("rb") as file:
            samples, odd = samples_of(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return Shard(name, [item(s) for s in samples], inside(name, odd))


def _tars(root: Path) -> list[Path]:
    """Return the tar files of a folder; none if it has folders of something else."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if any(not split_of(f.name) or not any(f.glob("*.tar")) or any(p.is_dir() for p in f.iterdir()) for f in folders):
        return []
    return [tar for folder in (root, *folders) for tar in sorted(folder.glob("*.tar"))]


def _named(label: str, classes: Sequence[str]) -> str | None:
    if not classes or label in classes:
        return label
    return classes[int(label)] if label.isdecimal() and int(label) < len(classes) else None


def _expand_one(pattern: str) -> list[str]:
    found = re.search(r"\{([^{}]*)\}", pattern)  # an innermost pair
    if not found:
        raise InputError(f"{pattern} has an open brace")
    inside = found.group(1)
    span = re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", inside)
    if span:
        first, last = span.groups()
        if int(last) - int(first) >= _MOST_SHARDS:
            raise InputError(f"{{{inside}}} stands for more than {_MOST_SHARDS:,} shards")
        words = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    elif "," in inside:
        words = inside.split(",")
    else:
        raise InputError(f"{{{inside}}} is not allowed in the name of a shard: {{000..099}} or {{one,other}}")
    return [pattern[: found.start()] + word + pattern[found.end() :] for word in words]
