"""The one guard of the command line: what an error says to the person who typed, and the exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from importlib.util import find_spec

from featherbone.errors import REMARKS, InputError, InterruptedRunError, MissingPackageError, first_line, masked
from featherbone.text import printable

_CALLER, _OURS = 2, 1
_PATH = (str, bytes, os.PathLike)
_LONGEST = 1000  # characters of a path that are repeated
# the extras that a verb needs, and a package of each; "export" brings "train"
_EXTRAS = {"cli": "typer", "train": "lightning", "export": "onnx"}
_VERBS = {
    **dict.fromkeys(("train", "evaluate", "predict", "data"), "train"),
    **dict.fromkeys(("export", "optimize"), "export"),
}


def ended_by(error: BaseException, *, number: int, debug: bool) -> int:
    """Say what ended the program, and return its exit code.

    Args:
        error: what reached the guard.
        number: of the signal that asked to stop; 0 for none.
        debug: show the traceback, too.
    """
    if debug and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    if isinstance(error, InterruptedRunError):
        _say(f"stopped; what was done is saved in {error.folder}")
        from featherbone.cli.output import next_steps

        with suppress(OSError):  # the terminal may be closed
            next_steps(["train", "--resume", str(error.folder)], stderr=True)
        return 128 + error.signal
    if number or isinstance(error, KeyboardInterrupt):
        _say("stopped")
        return 128 + (number or signal.SIGINT)
    if isinstance(error, SystemExit):
        if not isinstance(error.__context__, OSError):
            return error.code if isinstance(error.code, int) else 0
        error = error.__context__  # typer ends by itself where its output is closed
    said = _sentence(error)
    if said:
        _say(said)
        return _CALLER
    usage = _usage(error)
    if usage is not None:
        return usage
    _say(_fault(error))
    return _OURS


def _sentence(error: BaseException) -> str:
    """Return what the caller can do about an error; nothing, if the error is a fault of ours."""
    said = ""
    if isinstance(error, MissingPackageError):
        said = _missing(error)
    elif isinstance(error, InputError):
        said = str(error)
    elif isinstance(error, OSError) and (error.errno is not None or isinstance(error, BrokenPipeError)):
        said = _of_system(error)
    elif isinstance(error, UnicodeEncodeError):
        said = f"a name that is no UTF-8 cannot be used here: {error.object}"
    elif isinstance(error, RecursionError):
        said = "the input is nested too deeply"
    elif _is_memory(error):
        said = f"there is not enough memory ({first_line(error)}): smaller images, batches or networks need less"
    return said


def _of_system(error: OSError) -> str:
    """Return what the system refused, and for which file; one that has no name is the output stream."""
    paths = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, _PATH)]
    if paths:
        names = " and ".join(path if len(path) <= _LONGEST else f"{path[:60]}..." for path in paths)
        return f"{names}: {error.strerror or error}"
    if isinstance(error, BrokenPipeError):
        _discard_output()
        return "the output was closed before all of it was written"
    if error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO):
        _discard_output()
        return f"cannot write: {error.strerror}"
    return error.strerror or str(error)


def _is_memory(error: BaseException) -> bool:
    """Return whether PyTorch, which has an error of its own on GPUs and a sentence on processors, was short of it."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _missing(error: MissingPackageError) -> str:
    """Return one sentence for all that the verb still needs: nobody wants to learn it one by one."""
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    wanted = {error.extra, _VERBS.get(verb, "cli"), "cli"}
    lacking = [one for one in (*_EXTRAS, error.extra) if one in wanted]
    lacking = [one for one in dict.fromkeys(lacking) if one == error.extra or find_spec(_EXTRAS[one]) is None]
    if "export" in lacking and "train" in lacking:
        lacking.remove("train")
    install = f"pip install 'featherbone[{','.join(lacking)}]'{REMARKS.get(error.extra, '')}"
    return f"{error.doing} needs the package {error.package!r}: {install}"


def _usage(error: BaseException) -> int | None:
    """Say how a verb is called, if the error is typer's; return the exit code, ``None`` if it is another error."""
    if "typer" not in sys.modules:
        return None
    from featherbone.cli.output import show_usage

    return show_usage(error)


def _fault(error: BaseException) -> str:
    said = f"this is a fault of featherbone, not yours: {type(error).__name__}: {first_line(error)[:300]}"
    with suppress(OSError):
        handle, path = tempfile.mkstemp(".txt", "featherbone-fault-")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(masked(f"{sys.argv}\n\n{''.join(traceback.format_exception(error))}"))
        return f"{said}. Please report it with {path}, which has the traceback (--debug shows it)"
    return f"{said}. --debug shows the traceback: please report it"


def _discard_output() -> None:
    """Let Python's own last flush write nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # the error stream may be closed, too
        print(f"featherbone: {printable(masked(text))}", file=sys.stderr)
