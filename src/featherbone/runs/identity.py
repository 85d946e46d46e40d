"""A run is what it read and where it was computed, not what that was called.

``files.csv`` has every file that a run reads: its images (or the archives that hold them), its teacher, the weights
that it starts from; with size, stamp and digest. A digest is computed once more only where size or stamp differ.
``environment.json`` has what the bits of the result depend on besides, and the changes that somebody has accepted.
"""

from __future__ import annotations

import csv
import os
import platform
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

from featherbone.data.dataset import AnyData, Source, origins_of, relative
from featherbone.data.names import printable
from featherbone.data.progress import watched
from featherbone.errors import InputError, counted, first_line, some
from featherbone.files import digest, read_json, replacing, typed, write_json
from featherbone.runs.folder import ENVIRONMENT, FILES, START
from featherbone.runs.teacher import GIVEN_TEACHER
from featherbone.training import Recipe, processes
from featherbone.weights import FILE_NAME

_COLUMNS = ("role", "name", "size", "stamp", "digest")
_IMAGE = "image"
_AT_ONCE = 64  # files that a thread is handed together
_SHOWN = 3


class File(NamedTuple):
    """A file that a run reads.

    Attributes:
        role: what it is to the run.
        name: relative to the data, if it lies there.
    """

    role: str
    name: str

    def __str__(self) -> str:
        """Return it in words, as one line."""
        return printable(self.name if self.role == _IMAGE else f"{self.role} {self.name}")


@dataclass(frozen=True)
class FileState:
    """What tells a file's content.

    Attributes:
        size: bytes.
        stamp: when it was last changed: its own time, which a person can set, and the system's, which nobody can.
        digest: of its content; empty if it was not computed.
    """

    size: int
    stamp: str
    digest: str = ""


@dataclass(frozen=True)
class Environment:
    """What the bits of a run depend on besides its recipe and its files.

    Attributes:
        values: of the process that began the run.
        changes: what was otherwise later, and was accepted.
    """

    values: dict[str, str | int | bool]
    changes: tuple[str, ...] = ()


def environment(count: int, device: torch.device) -> dict[str, str | int | bool]:
    """Return what the bits of a run depend on, here and now.

    Args:
        count: of the processes that train.
        device: that of each of them.
    """
    return {
        "torch": str(torch.__version__),
        **{package: _version(package) for package in ("featherbone", "torchvision", "pillow")},
        "device": _named(device),
        "processor": _processor(),
        "processes": count,
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def read_environment(folder: Path) -> Environment | None:
    """Return what was recorded when a run began; ``None`` if it has not, or is an older version's.

    Raises:
        InputError: if it cannot be read.
    """
    path = folder / ENVIRONMENT
    return typed(read_json(path), Environment, path) if path.exists() else None


def write_environment(folder: Path, device: torch.device, changes: Sequence[str] = ()) -> None:
    """Record where a run is computed from now on, and what has been accepted."""
    write_json(folder / ENVIRONMENT, asdict(Environment(environment(processes().world, device), tuple(changes))))


@contextmanager
def threads_of(folder: Path) -> Iterator[None]:
    """Compute with as many threads as a run began with: sums depend on how they are divided."""
    known, here = read_environment(folder), torch.get_num_threads()
    wanted = int(known.values.get("threads", here)) if known else here
    if wanted == here:
        yield
        return
    said = f"the run in {folder} goes on with {counted(wanted, 'thread')}, as it began, not with {here}"
    warnings.warn(said, stacklevel=3)
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(here)


def write_files(folder: Path, images: AnyData, recipe: Recipe, *, quiet: bool) -> None:
    """Record every file that a run reads."""
    files = {**_images(images), **_others(folder, recipe)}
    states = _states(files, {}, quiet=quiet)
    with (
        replacing(folder / FILES) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        writer.writerows((*file, state.size, state.stamp, state.digest) for file, state in states.items())


def changed_files(folder: Path, images: AnyData, recipe: Recipe, *, quiet: bool) -> list[str]:
    """Return what has changed of the files that a run reads, in words; nothing if it is an older version's run.

    Raises:
        InputError: if a file, or the record, cannot be read.
    """
    return _differences(_read(folder / FILES), {**_images(images), **_others(folder, recipe)}, quiet=quiet)


def changed_images(folder: Path, images: AnyData, *, quiet: bool) -> list[str]:
    """Return what has changed of the images alone, as ``changed_files`` does."""
    known = _read(folder / FILES)
    return _differences(
        known and {file: known[file] for file in known if file.role == _IMAGE}, _images(images), quiet=quiet
    )


def changed_environment(folder: Path, count: int, device: torch.device) -> list[str]:
    """Return what differs from where a run began, in words."""
    known, here = read_environment(folder), environment(count, device)
    if known is None:
        return []
    names = [name for name in known.values if name in here]
    return [
        f"{name.replace('_', ' ')} {printable(str(known.values[name]))} -> {here[name]}"
        for name in names
        if known.values[name] != here[name]
    ]


def _images(images: AnyData) -> dict[File, Path | FileState]:
    """Return the files that hold images; of what lies elsewhere its state."""
    root = images.root or Path(images.name)
    sources = (*images.train.sources, *images.val.sources)
    return {File(_IMAGE, name): origin for source in sources for name, origin in _origins(source, root)}


def _others(folder: Path, recipe: Recipe) -> dict[File, Path]:
    """Return the files besides images that a run reads."""
    found = {}
    if recipe.teacher and recipe.teacher != GIVEN_TEACHER:
        teacher = Path(recipe.teacher)
        found[File("teacher", recipe.teacher)] = teacher / FILE_NAME if teacher.is_dir() else teacher
    if (folder / START).exists():
        found[File("weights", START)] = folder / START
    return found


def _origins(source: Source, root: Path) -> Iterator[tuple[str, Path | FileState]]:
    for origin in origins_of(source):
        if isinstance(origin, Path):
            yield relative(origin, root).as_posix(), origin
        else:
            # what stands before the host or behind the path may be a secret, and is no part of the file's name
            address = re.sub(r"//[^/@]*@", "//", origin.url.partition("?")[0])
            yield address, FileState(origin.size, origin.version, origin.version)


def _differences(
    known: Mapping[File, FileState] | None, files: Mapping[File, Path | FileState], *, quiet: bool
) -> list[str]:
    if known is None:
        return []
    states = _states(files, known, quiet=quiet)
    gone = [file for file in known if file not in states]
    new = [file for file in states if file not in known]
    other = [file for file, state in states.items() if file in known and state.digest != known[file].digest]
    kinds = (("is gone", "are gone", gone), ("is new", "are new", new), ("has changed", "have changed", other))
    return [
        f"{counted(len(found), 'file')} {one if len(found) == 1 else more} ({some([*map(str, found)], _SHOWN)})"
        for one, more, found in kinds
        if found
    ]


def _states(
    files: Mapping[File, Path | FileState], known: Mapping[File, FileState], *, quiet: bool
) -> dict[File, FileState]:
    """Return the state of every file; a digest is taken from ``known`` where size and stamp are the same."""

    def state(file: File) -> FileState:
        path, before = files[file], known.get(file)
        if isinstance(path, FileState):
            return path
        try:
            status = os.stat(path)  # noqa: PTH116 - of a million files
        except OSError as error:
            raise InputError(f"{file} can no longer be read: {error.strerror or error}") from error
        stamp = f"{status.st_mtime_ns}/{status.st_ctime_ns}"
        if before and (before.size, before.stamp) == (status.st_size, stamp):
            return before
        return FileState(status.st_size, stamp, digest(path))

    def several(group: Sequence[File]) -> list[FileState]:
        return [state(file) for file in group]

    names = list(files)
    groups = [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock, and a network disk answers many at once
        found = watched(pool.map(several, groups), "comparing files", total=len(groups), quiet=quiet)
        return dict(zip(names, (one for group in found for one in group), strict=True))


def _read(path: Path) -> dict[File, FileState] | None:
    """Return what was recorded; ``None`` if nothing was, as by an older version.

    Raises:
        InputError: if it cannot be read.
    """
    if not path.exists():
        return None
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = list(csv.reader(stream))[1:]
        return {File(role, name): FileState(int(size), stamp, known) for role, name, size, stamp, known in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # sources on a path
        return "unknown"


def _named(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return f"{device.type} {name}".strip()


def _processor() -> str:
    """Return the processor's model and the instructions that PyTorch uses: both choose how sums are ordered."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    except OSError:  # not Linux
        pass
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"
