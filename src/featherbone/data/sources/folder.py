"""Images in folders named after their classes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from featherbone.data.dataset import Item, Listing, Skipped, relative
from featherbone.data.names import ALL, SPLIT_WORDS, TRAIN, printable
from featherbone.errors import InputError, first_line

_OF_A_RUN = ("recipe.json", "data.json")  # a folder that has these holds a run of featherbone's
_RUN = "a run of featherbone's, no images"
_VIDEOS = frozenset(".mp4 .mov .mkv .avi .webm .m4v .mpg .mpeg".split())


def list_folder(root: Path) -> Listing[str]:
    """Return the images of a folder of class folders, or of the ``train``, ``val`` and ``test`` folders of it.

    Raises:
        InputError: if what is to be learned from has no class folders.
    """
    roots = _splits(root)
    learned = roots.get(TRAIN) or roots.get(ALL)
    classes = _class_names(learned) if learned else ()
    splits: dict[str, list[Item[str]]] = {}
    runs = {run for place in {root, *roots.values()} for run in _all_folders(place) if run not in _folders(place)}
    skipped = [Skipped(printable(str(relative(run, root))), _RUN) for run in sorted(runs)]
    for split, folder in roots.items():
        splits[split] = []
        for class_folder in _folders(folder):
            files, odd = walked(class_folder)
            splits[split] += [Item(path, printable(class_folder.name.strip())) for path in files]
            skipped += [Skipped(printable(str(relative(path, root))), reason) for path, reason in odd]
    return Listing(name=str(root), splits=splits, classes=classes, skipped=tuple(skipped), kind="class folder")


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
        return walked(given)[0]
    if given.exists():
        return [given]
    parent = Path(given.anchor or ".")
    return sorted(match for match in parent.glob(str(given.relative_to(given.anchor))) if match.is_file())


def walked(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return everything in a folder that is no folder, at any depth, and the folders that were not entered, and why.

    What is hidden is left out: previews and the checkpoints of notebooks are copies.
    """
    found: list[Path] = []
    odd: list[tuple[Path, str]] = []

    def complain(error: OSError) -> None:
        odd.append((Path(error.filename), error.strerror or first_line(error)))

    for place, folders, files in os.walk(folder, onerror=complain):
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        odd += [(here / name, "a link to a folder, not followed") for name in folders if (here / name).is_symlink()]
        odd += [(here / name, _RUN) for name in folders if is_run(here / name)]
        folders[:] = [name for name in folders if not is_run(here / name)]
        found += [here / name for name in files if not name.startswith(".")]
    return sorted(found), odd


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a run: pictures in it are what came of images, not images."""
    return all((folder / name).is_file() for name in _OF_A_RUN)


def _folders(root: Path) -> list[Path]:
    """Return the folders in a folder, without what is hidden, and without runs and folders of nothing but runs."""
    return [folder for folder in _all_folders(root) if not is_run(folder) and not _holds_runs_only(folder)]


def _all_folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _holds_runs_only(folder: Path) -> bool:
    inner = [one for one in os.scandir(folder) if not one.name.startswith(".")]
    return bool(inner) and all(one.is_dir() and is_run(Path(one.path)) for one in inner)


def _splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split, or the whole as one."""
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    named: dict[str, Path] = {}
    for word, split in SPLIT_WORDS.items():
        if word in folders:
            named.setdefault(split, folders[word])
    # beside other folders, only "train" itself says that these are splits
    return named if named and ((root / "train").is_dir() or folders.keys() <= SPLIT_WORDS.keys()) else {ALL: root}


def _class_names(root: Path) -> tuple[str, ...]:
    names = sorted({printable(folder.name.strip()) for folder in _folders(root)})
    if not names:
        raise InputError(
            f"{root} has no class folders: put the images of each class in a folder of its own, {root}/CLASS/"
        )
    return tuple(names)
