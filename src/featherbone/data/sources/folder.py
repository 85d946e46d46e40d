"""Images in folders named after their classes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from featherbone.data.dataset import Item, Listing, Skipped, in_splits
from featherbone.data.names import ALL, TRAIN, is_system, printable, split_in, split_of
from featherbone.data.sources.paths import IMAGE_SUFFIXES, by_split, entries, files_in, folders_in
from featherbone.errors import InputError, first_line, some

_OF_A_RUN = ("recipe.json", "data.json")  # a folder that has these holds a run of featherbone's
_VIDEOS = frozenset(".mp4 .mov .mkv .avi .webm .m4v .mpg .mpeg".split())


def list_folder(root: Path) -> Listing[str]:
    """Return the images of a folder of class folders, or of the ``train``, ``val`` and ``test`` folders of it.

    Names alone do not make splits: a folder of a split has class folders. If all there is lies one level down, it is
    looked at there.

    Raises:
        InputError: if what is to be learned from has no class folders, or nobody can tell splits from classes.
    """
    roots = _splits(root)
    if inner := roots.get(ALL):
        folders = _folders(inner)
        if len(folders) == 1 and _is_nested(folders[0]) and not any(files_in(inner, IMAGE_SUFFIXES)):
            return replace(list_folder(folders[0]), name=str(root))
    learned = roots.get(TRAIN) or roots.get(ALL)
    classes = _class_names(learned) if learned else ()
    splits = {
        split: [
            Item(path, printable(class_folder.name.strip()))
            for class_folder in _folders(folder)
            for path in walked(class_folder)
        ]
        for split, folder in roots.items()
    }
    notes = _notes(learned, roots.get(ALL) is not None) if learned else []
    return Listing(
        name=str(root), splits=in_splits(splits), classes=classes, left_out=tuple(notes), kind="class folder"
    )


def images_and_videos(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """Return the files that ``paths`` name, as ``find_images`` does, with the videos, by their suffixes, apart.

    Raises:
        InputError: if a path names nothing.
    """
    found = find_images(paths)
    return [one for one in found if one.suffix.lower() not in _VIDEOS], [
        one for one in found if one.suffix.lower() in _VIDEOS
    ]


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that ``paths`` name: files themselves, everything inside folders, matches of shell patterns.

    Raises:
        InputError: if a path names nothing.
    """
    found: list[Path] = []
    for named in paths:
        try:
            matches = _matches(Path(named)) if os.fspath(named) else []  # "" would be the working folder
        except (OSError, ValueError) as error:  # a name that is too long, a folder that is closed, a pattern like **a
            why = error.strerror if isinstance(error, OSError) else first_line(error)
            raise InputError(f"{os.fspath(named)[:200]} cannot be looked for: {why}") from error
        if not matches:
            raise InputError(f"no such file, folder or pattern with images: {named or repr(named)}")
        found += matches
    return found


def _matches(given: Path) -> list[Path]:
    if given.is_dir():
        return walked(given)
    if given.exists():
        return [given]
    parent = Path(given.anchor or ".")
    return sorted(match for match in parent.glob(str(given.relative_to(given.anchor))) if match.is_file())


def walked(folder: Path) -> list[Path]:
    """Return everything in a folder that is no folder, at any depth; links to folders are not followed.

    What is hidden or the system's is left out, as previews and the checkpoints of notebooks are copies; so are runs.
    """
    return sorted(Path(place, name) for place, files in _walk(folder) for name in files)


def has_images(folder: Path) -> bool:
    """Return whether there is a file called like an image in a folder, at any depth."""
    return any(Path(name).suffix.lower() in IMAGE_SUFFIXES for _, files in _walk(folder) for name in files)


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a run, or nothing but runs: pictures in it are what came of images, not images."""
    inner = [Path(one.path) for one in entries(folder)]
    return _has_run(folder) or (bool(inner) and all(map(_has_run, inner)))


def _has_run(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _OF_A_RUN)


def _folders(root: Path) -> list[Path]:
    """Return the folders in a folder, without runs."""
    return [folder for folder in folders_in(root) if not is_run(folder)]


def _splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split, or the whole as one."""
    folders = _folders(root)
    named = [folder for folder in folders if split_in(folder.name)]
    nested = [folder for folder in named if _is_nested(folder)]
    found = by_split(nested)
    if TRAIN in found:
        alike = [folder.name for folder in nested if split_in(folder.name) == TRAIN]
        if len(found) == 1 and len(alike) > 1 and not any(map(split_of, alike)):
            raise InputError(
                f"{root}: {some(alike)} may be splits or classes: call the folder to learn from {root / TRAIN}, "
                "or put the images of each class into one folder"
            )
        return found
    if folders and (nested == folders or all(split_of(folder.name) for folder in folders)):
        return by_split(folders)
    if nested:
        raise InputError(
            f"{root}: {nested[0].name} has class folders of its own, beside {some([f.name for f in folders])}: put the "
            f"class folders to learn from into {root / TRAIN}"
        )
    return {ALL: root}


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder in a folder, itself first, with the names of the files in it."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_system(name) and not is_run(Path(place, name))]
        yield place, [name for name in files if not is_system(name)]


def _is_nested(folder: Path) -> bool:
    """Return whether the folder has folders with files, as that of a split has."""
    return any(_has_files(inner) for inner in _folders(folder))


def _has_files(folder: Path) -> bool:
    return any(files for _, files in _walk(folder))


def _notes(learned: Path, unsplit: bool) -> list[Skipped]:
    """Return what of the folders' names and depth was not taken to mean anything."""
    notes = []
    classes = _folders(learned)
    for folder in classes if unsplit else ():
        if split := split_of(folder.name):
            reason = f"taken as a class, though it is called like a {split} split: it has no class folders"
            notes.append(Skipped(printable(folder.name) + "/", reason, 0))
    deep = {
        folder.name: inner
        for folder in classes
        if len(inner := _folders(folder)) > 1 and not any(files_in(folder, IMAGE_SUFFIXES))
    }
    if deep:
        first, inner = next(iter(deep.items()))
        names = some([printable(one.name) for one in inner], most=3)
        more = f" (and {len(deep) - 1} class folders more)" if len(deep) > 1 else ""
        reason = f"one class: the folders in it ({names}) are none of their own{more}"
        notes.append(Skipped(printable(first) + "/", reason, 0))
    return notes


def _class_names(root: Path) -> tuple[str, ...]:
    names = sorted({printable(folder.name.strip()) for folder in _folders(root)})
    if not names:
        raise InputError(
            f"{root} has no class folders: put the images of each class in a folder of its own, {root}/CLASS/"
        )
    return tuple(names)
