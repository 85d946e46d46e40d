"""Ctrl-C, SIGTERM and SIGHUP within a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from featherbone.errors import InterruptedRunError
from featherbone.signals import heard
from featherbone.training.distributed import processes


class StopRequest:
    """A request to stop, made by a signal: the run stops after its step, at a second request at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0  # the number of the signal

    def check(self) -> None:
        """Stop the run if a request was made.

        Raises:
            InterruptedRunError: if one was.
        """
        if self.made:
            raise InterruptedRunError(self.folder, self.made)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.check()  # the second request finds the first
        self.made = number


@contextmanager
def stopping(folder: Path) -> Iterator[StopRequest]:
    """Yield a request that the signals make inside the block: Lightning's own handlers would end the process.

    With several processes only Ctrl-C makes it; the others end them as usual. A launcher sends SIGTERM when one process
    has died; the rest wait for that one, and would not run a handler written in Python.
    """
    request = StopRequest(folder)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield request
        return
    numbers = heard() if processes().world == 1 else [signal.SIGINT]
    before = {number: signal.signal(number, request._handle) for number in numbers}  # noqa: SLF001
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
