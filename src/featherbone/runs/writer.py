"""A run's folder has one writer at a time.

The lock is the operating system's: it ends with the process that holds it, however that ends. Beside it stands who
that is. The loader's processes do not hold it: they may outlive a killed trainer by some seconds.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from featherbone.data.names import printable
from featherbone.errors import InputError, first_line
from featherbone.files import read_json, typed, write_json
from featherbone.runs.folder import CHECKPOINTS

LOCK, WRITER = ".lock", "writer.json"
_MOMENT = 2.0  # seconds: a process that was killed needs some of them to end
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_HALF = re.compile(r"\.[^/]*\.[0-9a-f]{8}(\.\w+)?")  # what ``files.replacing`` writes to


@dataclass(frozen=True)
class Writer:
    """Who writes to a run's folder, or did so last.

    Attributes:
        process: its id.
        host: the machine.
        since: date and time.
    """

    process: int
    host: str
    since: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"process {self.process} on {printable(self.host)}, since {printable(self.since)}"


def last_writer(folder: Path) -> str:
    """Return who writes to a run's folder, or did so last, in words."""
    try:
        return str(typed(read_json(folder / WRITER), Writer, folder / WRITER))
    except InputError:
        return "another process"


@contextmanager
def writing(folder: Path, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Be the one writer of a folder inside the block; what a killed one had begun to write is removed.

    Args:
        folder: of a run.
        check: raises if the folder must not be written to; asked when nobody else can, before anything is written.

    Raises:
        InputError: if another process is, or the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK, fallback_to_soft=False)
    try:
        lock.acquire(timeout=_MOMENT, poll_interval=0.05)
    except Timeout:
        raise InputError(
            f"{folder} is being written to by {last_writer(folder)}: wait for its end, or choose another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise InputError(f"cannot write to {folder}: {error.strerror or first_line(error)}") from error
        warnings.warn(f"the disk of {folder} has no locks: let no other process write to this run", stacklevel=3)
    try:
        check()
        now = datetime.now().astimezone()
        write_json(folder / WRITER, asdict(Writer(os.getpid(), platform.node(), f"{now:%Y-%m-%d %H:%M:%S %z}")))
        _sweep(folder)
        yield
    finally:
        lock.release()


def forget(folder: Path) -> None:
    """Remove the lock, which is held, and who holds it: nothing has come of a folder."""
    for name in (WRITER, LOCK):
        with suppress(OSError):
            (folder / name).unlink()


def _sweep(folder: Path) -> None:
    for place in (folder, folder / CHECKPOINTS):
        for half in place.glob(".*"):
            if _HALF.fullmatch(half.name) and half.is_file():
                half.unlink(missing_ok=True)
