"""The processes of a run: how many there are, which one this is, and what launched them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import dataclass

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
        """Whether this is the one that writes files and prints."""
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
