"""Ctrl-C and SIGTERM within a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from featherbone.errors import InterruptedRunError
from featherbone.training.distributed import processes


class StopRequest:
    """A request to stop, made by Ctrl-C or SIGTERM: the run stops after its step, at a second request at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = False

    def check(self) -> None:
        """Stop the run if a request was made.

        Raises:
            InterruptedRunError: if one was.
        """
        if self.made:
            raise InterruptedRunError(self.folder)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self.check()  # the second request finds the first
        self.made = True


@contextmanager
def stopping(folder: Path) -> Iterator[StopRequest]:
    """Yield a request that Ctrl-C and SIGTERM make inside the block: Lightning's own handlers would end the process.

    With several processes SIGTERM ends them as usual. A launcher sends it when one process has died; the others wait
    for that one, and would not run a handler written in Python.
    """
    request = StopRequest(folder)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield request
        return
    signals = (signal.SIGINT, signal.SIGTERM) if processes().world == 1 else (signal.SIGINT,)
    before = {number: signal.signal(number, request._handle) for number in signals}  # noqa: SLF001
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
