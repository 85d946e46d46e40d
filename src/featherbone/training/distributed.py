"""The processes of a run: how many there are, which one this is, and how they are asked to stop."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from featherbone.errors import InterruptedRunError

_PR_SET_PDEATHSIG = 1  # of Linux' prctl: which signal comes when the parent has died


@dataclass(frozen=True)
class Processes:
    """The processes that train one network together.

    Attributes:
        rank: which of them this is.
        world: how many there are.
        local: how many there are on this machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0


def processes() -> Processes:
    """Return what ``torchrun`` or SLURM's ``srun`` says of this process; alone, if neither started it."""
    for rank, world, local in (
        ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
    ):
        if os.environ.get(world, "").isdigit() and os.environ.get(rank, "").isdigit():
            count = int(os.environ[world])
            here = os.environ.get(local, "")
            return Processes(int(os.environ[rank]), count, int(here) if here.isdigit() else 1)
    return Processes()


def follow_the_launcher() -> None:
    """Let Linux end this process with the launcher that started it.

    A launcher that is killed leaves its processes behind; they and those of the next start would write to one run.
    """
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class StopRequest:
    """Ctrl-C or SIGTERM, kept until it can be obeyed; the second one is obeyed at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = False

    def obey(self) -> None:
        """Stop, if that was asked for.

        Raises:
            InterruptedRunError: then.
        """
        if self.made:
            raise InterruptedRunError(self.folder)

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        self.obey()
        self.made = True


@contextmanager
def stopping(folder: Path) -> Iterator[StopRequest]:
    """Yield a request that Ctrl-C and SIGTERM make: Lightning answers them by leaving the process.

    With several processes SIGTERM ends them as usual: a launcher sends it when one has died, and the others, waiting
    for that one, would not hear Python's handler.
    """
    request = StopRequest(folder)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield request
        return
    heard = (signal.SIGINT, signal.SIGTERM) if processes().world == 1 else (signal.SIGINT,)
    before = {number: signal.signal(number, request._hear) for number in heard}  # noqa: SLF001
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
