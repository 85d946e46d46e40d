"""Annotations that programs write in forms of their own: named, so that nobody takes their folders for classes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from featherbone.data.names import is_system, printable
from featherbone.data.sources.paths import IMAGE_SUFFIXES
from featherbone.data.sources.voc import outermost
from featherbone.errors import InputError

_MOST_FILES = 20_000  # that are looked at by name
_DEPTH = 4
_HEAD = 1 << 16  # bytes of a file, in which its form is to be seen
_LEAST = 0.5  # of the images that have such a file beside them

_LABELME = re.compile(rb'"shapes"\s*:\s*\[')
_VIA = re.compile(rb'"_via_|"regions"\s*:\s*[\[{]')
_SUPERVISELY = re.compile(rb'"(classTitle|geometryType)"|"objects"\s*:\s*\[')
_LIST = re.compile(rb"^\s*\[\s*\{")
_EXPORT = "export COCO, Pascal VOC or YOLO there"
_CONVERT = "convert them to COCO, Pascal VOC or YOLO"


def refuse_other_tools(path: Path) -> None:
    """Refuse a folder, or a file, with annotations in the own form of a program that is known.

    Raises:
        InputError: if it has some; the sentence names the program, what was seen, and what to export instead.
    """
    files = [path] if path.is_file() else list(islice(_files(path), _MOST_FILES))
    for tool, sign, instead in _TOOLS:
        seen = sign(files)
        if seen:
            shown = printable(os.path.relpath(seen, path)) if path.is_dir() else printable(path.name)
            raise InputError(f"{path} holds annotations in the form of {tool} ({shown}), which is not read: {instead}")


def _files(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root):
        deep = len(Path(place).relative_to(root).parts) >= _DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if not is_system(name))
        yield from (Path(place, name) for name in sorted(files) if not is_system(name))


def _cvat(files: list[Path]) -> Path | None:
    return next((file for file in files if file.suffix.lower() == ".xml" and outermost(file) == "annotations"), None)


def _in_folder(name: str) -> Callable[[list[Path]], Path | None]:
    def sign(files: list[Path]) -> Path | None:
        return next((f for f in files if f.parent.name == name and f.suffix == ".txt"), None)

    return sign


def _json(pattern: re.Pattern[bytes], *, beside: bool = False) -> Callable[[list[Path]], Path | None]:
    """Return a sign: a JSON file of a form; with ``beside``, one beside most of the images."""

    def sign(files: list[Path]) -> Path | None:
        found = [file for file in files if file.suffix.lower() == ".json"]
        if beside and len(files) > 1:
            images = {file.with_suffix(".json") for file in files if file.suffix.lower() in IMAGE_SUFFIXES}
            found = [file for file in found if file in images]
            if len(found) < _LEAST * len(images):
                return None
        return next((file for file in found[:_DEPTH] if pattern.search(_head(file))), None)

    return sign


def _json_list(key: bytes, other: bytes) -> Callable[[list[Path]], Path | None]:
    def sign(files: list[Path]) -> Path | None:
        for file in (file for file in files if file.suffix.lower() == ".json"):
            head = _head(file)
            if _LIST.match(head) and all(re.search(rb'"%s"\s*:' % word, head) for word in (key, other)):
                return file
        return None

    return sign


def _supervisely(files: list[Path]) -> Path | None:
    found = (file for file in files if file.parent.name == "ann" and file.suffix.lower() == ".json")
    return next((file for file in islice(found, _DEPTH) if _SUPERVISELY.search(_head(file))), None)


def _head(file: Path) -> bytes:
    try:
        if not file.is_file():
            return b""
        with file.open("rb") as opened:
            return opened.read(_HEAD)
    except OSError:
        return b""


_TOOLS: tuple[tuple[str, Callable[[list[Path]], Path | None], str], ...] = (
    ("CVAT", _cvat, "export COCO 1.0, Pascal VOC 1.1 or YOLO 1.1 there"),
    ("OIDv4_ToolKit", _in_folder("Label"), _CONVERT),
    ("KITTI", _in_folder("label_2"), _CONVERT),
    ("DOTA", _in_folder("labelTxt"), _CONVERT),
    ("Supervisely", _supervisely, _EXPORT),
    ("labelme", _json(_LABELME, beside=True), _CONVERT),
    ("VIA", _json(_VIA), "export COCO there"),
    ("Label Studio", _json_list(b"data", b"annotations"), _EXPORT),
    ("CreateML", _json_list(b"image", b"annotations"), _CONVERT),
)
