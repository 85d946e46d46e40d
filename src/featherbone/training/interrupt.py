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
