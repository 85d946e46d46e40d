"""The command line: every verb is a few lines over ``import featherbone``, inside one guard."""

from __future__ import annotations

import io
import sys
import warnings

from featherbone.cli.failure import ended_by
from featherbone.errors import needs
from featherbone.signals import stopping_as_interrupts

_INTERRUPTED = 130  # what typer returns after Ctrl-C


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 2 the caller's mistake or the machine's limit, 128 and the signal's number if stopped (Ctrl-C:
    130), 1 a fault of featherbone.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names hold more than an ASCII terminal can show
            stream.reconfigure(errors="backslashreplace")
    code = _run(debug="--debug" in sys.argv)
    # past the block that caught an error: what it held, such as loader processes, is free
    raise SystemExit(code)


def _run(*, debug: bool) -> int:
    with stopping_as_interrupts() as stop, warnings.catch_warnings():
        try:
            with needs("cli", "the command line"):
                from featherbone.cli.app import app
                from featherbone.cli.output import show_warning
            warnings.showwarning = show_warning
            code = app(prog_name="featherbone", standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BaseException as error:  # noqa: BLE001 - the one guard
            return ended_by(error, number=stop.number, debug=debug)
        return ended_by(KeyboardInterrupt(), number=stop.number, debug=False) if code == _INTERRUPTED else 0
