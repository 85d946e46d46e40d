"""Requests to stop: Ctrl-C, and what ``timeout``, systemd, SLURM or a terminal that is closed send.

Importing this file prepares for one that comes while the rest is imported, if this process is the command line.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType

STOPS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__)


def heard() -> list[signal.Signals]:
    """Return the signals to listen to: all, but under ``nohup`` not that of a closed terminal."""
    return [n for n in STOPS if n in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(n) is not signal.SIG_IGN]


class StopState:
    """Which request to stop has come.

    Attributes:
        number: of the signal; 0 for none.
    """

    number = 0


@contextmanager
def stopping_as_interrupts() -> Iterator[StopState]:
    """Raise ``KeyboardInterrupt(number)`` in the block for any request to stop; at a second one the process ends.

    What libraries make of the exception is their affair: the state tells that a request came.
    """
    state = StopState()

    def handle(number: int, frame: FrameType | None) -> None:
        if state.number:
            _leave(number, frame)
        state.number = number
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield state
        return
    before = {number: signal.signal(number, handle) for number in heard()}
    try:
        yield state
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set by Python cannot be set again
                signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    os.write(2, b"featherbone: stopped\n")
    os._exit(128 + number)  # as shells have it


def _is_command_line() -> bool:
    """Return whether this process is ``featherbone`` or ``python -m featherbone``, and no program that imports it."""
    as_module = sys.argv[:1] == ["-m"] and ("-m", "featherbone") in pairwise(sys.orig_argv)
    return as_module or Path(sys.argv[0] if sys.argv else "").stem == "featherbone"


if _is_command_line() and threading.current_thread() is threading.main_thread():
    for _number in heard():
        signal.signal(_number, _leave)
