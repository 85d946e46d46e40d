"""What lies in the folder of a data set and is no part of it: nothing is left out without a line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from featherbone.data.dataset import Skipped
from featherbone.data.names import is_system, printable, split_in
from featherbone.data.sources.folder import is_run
from featherbone.data.sources.paths import IMAGE_SUFFIXES
from featherbone.errors import counted, some

_NAMED = 3  # files of a group


def remainder(root: Path, used: Collection[Path], splits: Collection[str] = ()) -> tuple[Skipped, ...]:
    """Return what lies in a folder and was not used, so that every file is either used or counted here once.

    A folder in which nothing was used is one entry, whatever is in it; so are the other files of a folder. What systems
    and programs put everywhere is one entry for each name. The entries with the most images come first.

    Args:
        root: the folder.
        used: the files that were read, below ``root`` by name; others are ignored.
        splits: those that the data set has, for the reason.
    """
    walk = _Walk(root, {str(path) for path in used})
    walk.needed = {str(root)} | {str(parent) for path in used for parent in path.parents}
    walk.go()
    found = []
    for place, group in walk.groups.items():
        if group.names:
            entry = group.entry(_shown(place, root), needed=place in walk.needed, splits=splits)
            found.append((group.images, entry))
    found.sort(key=lambda pair: (-pair[0], pair[1].path))
    system = (Skipped(name, "of the system or hidden", files) for name, files in sorted(walk.system.items()) if files)
    return (*(entry for _, entry in found), *walk.odd, *system)


@dataclass
class _Walk:
    """A walk through a folder.

    Attributes:
        root: the folder.
        used: files that are not counted.
        needed: the folders that they lie in, at any depth.
        groups: the others, by the folder that stands for them.
        system: how many files there are of each name that systems and programs give.
        odd: what was not entered.
    """

    root: Path
    used: set[str]
    needed: set[str] = field(default_factory=set)
    groups: dict[str, _Group] = field(default_factory=dict)
    system: Counter[str] = field(default_factory=Counter)
    odd: list[Skipped] = field(default_factory=list)

    def go(self) -> None:
        tops: dict[str, str] = {}  # of every folder that nothing needs: the outermost such folder
        for place, folders, files in os.walk(self.root, onerror=self._complain, followlinks=True):
            folders[:] = [name for name in sorted(folders) if self._enters(place, name)]
            for name in folders:
                inner = os.path.join(place, name)  # noqa: PTH118 - there may be a million
                if inner not in self.needed:
                    tops[inner] = inner if place in self.needed else tops[place]
            group = self.groups.setdefault(tops.get(place, place), _Group())
            for name in sorted(files):
                if os.path.join(place, name) in self.used:  # noqa: PTH118
                    continue
                if is_system(name):
                    self.system[_system_name(name)] += 1
                else:
                    group.names.append(name)

    def _enters(self, place: str, name: str) -> bool:
        inner = os.path.join(place, name)  # noqa: PTH118
        if inner in self.needed:
            return True
        if is_system(name):
            self.system[_system_name(name)] += _count(inner)
            return False
        if os.path.islink(inner):  # noqa: PTH114
            self.odd.append(Skipped(_shown(inner, self.root), "a link to a folder, not followed"))
            return False
        if is_run(Path(inner)):
            self.odd.append(Skipped(_shown(inner, self.root) + "/", "a run of featherbone's, no images", _count(inner)))
            return False
        return True

    def _complain(self, error: OSError) -> None:
        self.odd.append(Skipped(_shown(str(error.filename), self.root) + "/", error.strerror or str(error)))


@dataclass
class _Group:
    """Files of a folder that nothing names."""

    names: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        return sum(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in self.names)  # noqa: PTH122

    def entry(self, folder: str, *, needed: bool, splits: Collection[str]) -> Skipped:
        """Return the line for them: ``needed`` if other files of the folder were used."""
        images = f" ({counted(self.images, 'image')})" if self.images else ""
        said = f"{counted(len(self.names), 'file')}{images}, no part of the data set"
        if not needed:
            split = split_in(folder)
            taken = f": the {split} split is another folder" if split in splits else ""
            return Skipped(folder + "/", said + taken, len(self.names))
        base = "" if folder == "." else folder + "/"
        if len(self.names) == 1:
            return Skipped(base + printable(self.names[0]), "no part of the data set")
        names = some([printable(name)[:60] for name in self.names], most=_NAMED)
        return Skipped(base or "./", f"{said}: {names}", len(self.names))


def _shown(path: str, root: Path) -> str:
    return printable(os.path.relpath(path, root))


def _system_name(name: str) -> str:
    return ".*" if name.startswith(".") else printable(name)


def _count(folder: str) -> int:
    if os.path.islink(folder):  # noqa: PTH114
        return 1
    return sum(len(files) for _, _, files in os.walk(folder))
