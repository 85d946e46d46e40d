"""Where the files of a detection data set lie: image files, folders of splits, and paths that others wrote."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from featherbone.data.names import SPLIT_WORDS, is_system, split_in

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .dib .gif .webp .tif .tiff .jp2 .j2k .avif .heic .heif .ppm .pgm .pnm".split()
)

# what folders of images are called, in small letters
IMAGE_FOLDERS = ("images", "jpegimages", "imgs", "img")


def inside(written: object) -> PurePosixPath | None:
    r"""Return a path of an annotation file if it cannot lead out of the data set's folder; both slashes separate.

    >>> inside("images\\1.jpg"), inside("../1.jpg"), inside("/1.jpg"), inside("c:1.jpg")
    (PurePosixPath('images/1.jpg'), None, None, None)
    """
    if not isinstance(written, str) or not written.strip():
        return None
    path = PurePosixPath(written.replace("\\", "/"))
    leaves = path.is_absolute() or ".." in path.parts or re.match("[a-zA-Z]:", written) or "\0" in written
    return None if leaves else path


def located(folder: Path, written: PurePosixPath | str) -> Path:
    """Return the path of a file that a list names, in the Unicode form in which the disk has it.

    Some systems write composed letters, some decomposed ones (NFC, NFD), and a list may come from the other kind.
    """
    text = str(written)
    if not text.isascii():
        for form in (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))):
            if os.path.exists(folder / form):  # noqa: PTH110 - never raises
                return folder / form
    return folder / text


def number(value: object) -> float:
    """Return a number that is written as one or (in XML and plain text) as text; NaN for anything else.

    >>> number(3), number("3.5"), number("x"), number(None), number(10**400)
    (3.0, 3.5, nan, nan, nan)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted by name, without what is the system's; nothing if it is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return sorted((one for one in found if not is_system(one.name)), key=lambda one: one.name)


def files_in(folder: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Yield the files in a folder that end in one of these, whatever their case."""
    wanted = frozenset(suffixes)
    for one in entries(folder):
        if os.path.splitext(one.name)[1].lower() in wanted and os.path.isfile(one.path):  # noqa: PTH113, PTH122 - of a million names, and never raises
            yield Path(one.path)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder."""
    return [Path(one.path) for one in entries(folder) if os.path.isdir(one.path)]  # noqa: PTH112 - never raises


def named(folder: Path, *names: str) -> Path | None:
    """Return the folder in a folder that has the first of these names, whatever its case."""
    known = {one.name.lower(): one for one in folders_in(folder)}
    return next((known[name] for name in names if name in known), None)


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the folders whose names say that they hold a split: ``train``, ``valid``, ``test2017`` ..."""
    return by_split(folders_in(folder))


def by_split(paths: Iterable[Path]) -> dict[str, Path]:
    """Return the path of each split that the names say; of several, the one that is the plain word.

    >>> by_split([Path("train_aug"), Path("train"), Path("test2017"), Path("other")])
    {'train': PosixPath('train'), 'test': PosixPath('test2017')}
    """
    words = list(SPLIT_WORDS)

    def rank(path: Path) -> tuple[int, int, str]:
        word = path.stem.lower()
        return words.index(word) if word in SPLIT_WORDS else len(words), len(word), path.name

    found: dict[str, Path] = {}
    for one in sorted(paths, key=rank):
        if split := split_in(one.stem):
            found.setdefault(split, one)
    return found
