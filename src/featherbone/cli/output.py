"""What every verb shares: tables, JSON, one-sentence messages, and what can be done next.

Whatever is printed goes through here, where control characters in names of others become visible ones.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from featherbone.errors import masked
from featherbone.files import to_json
from featherbone.text import printable

# a table in a pipe or a file is not cut to a width that nobody looks at
_WIDE = 200

_MOST_SKIPPED = 20
_UsageError = typer.BadParameter.__base__  # typer does not name it: click's, in newer versions a copy of its own


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console on the output or error stream."""
    found = _Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else _Console(stderr=stderr, highlight=False, width=_WIDE)


def say(text: str, *, style: str = "", stderr: bool = False) -> None:
    """Print one line, never broken, so that it can be copied."""
    console(stderr=stderr).print(Text(printable(text), style=style), soft_wrap=True)


def note(text: str) -> None:
    """Tell whoever watches a terminal what is going on; a log needs no such line."""
    if console(stderr=True).is_terminal:
        say(text, style="dim", stderr=True)


def tell(text: str) -> None:
    """Print one line to the error stream, for whoever watches a terminal and for a log."""
    say(text, style="dim", stderr=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line; takes what ``warnings.showwarning`` takes."""
    own = "featherbone" in Path(filename).parts
    say(f"{'featherbone' if own else 'warning'}: {masked(str(message).strip())}", style="yellow", stderr=True)


def show_usage(error: BaseException) -> int | None:
    """Say how a command is called that typer refused; return the exit code, ``None`` for another error."""
    if _UsageError is None or not isinstance(error, _UsageError):
        return None
    refused: Any = error
    context, said = refused.ctx, refused.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        print(said)
        return 0
    if context is not None:
        say(context.get_usage().splitlines()[0], stderr=True)
        said = f"{said} ('{context.command_path} --help' shows what there is)"
    say(f"featherbone: {said}", stderr=True)
    return 2


def show_json(value: Any) -> None:
    """Print one JSON object, and nothing else, to the output stream."""
    print(to_json(value))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", left: int = 1) -> None:
    """Print a table; the first ``left`` columns are words, the rest numbers."""
    table = Table(
        title=Text(printable(title)) if title else None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        show_header=any(columns),
        pad_edge=False,
    )
    for number, name in enumerate(columns):
        table.add_column(Text(printable(name)), justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    console().print(table)


def show_skipped(files: Sequence[Any]) -> None:
    """List the files that could not be read."""
    if not files:
        return
    say("")
    show_table(("left out", "why"), [(file.path, file.reason) for file in files[:_MOST_SKIPPED]], left=2)
    if len(files) > _MOST_SKIPPED:
        say(f"and {len(files) - _MOST_SKIPPED:,} more (all of them with --json)")


def next_steps(*commands: Sequence[str], script: Sequence[str] = (), stderr: bool = False) -> None:
    """Say what can be done next, as commands that can be copied.

    Args:
        commands: words of commands of featherbone.
        script: a command of its own, named first.
        stderr: print to the error stream.
    """
    # under 'uv run' the command is not on the caller's own PATH
    program = "uv run featherbone" if "UV_RUN_RECURSION_DEPTH" in os.environ else "featherbone"
    if not commands and not script:
        return
    say("", stderr=stderr)
    say("next:", style="dim", stderr=stderr)
    if script:
        say(f"  {command_line(script[0], script[1:])}", stderr=stderr)
    for command in commands:
        say(f"  {command_line(program, command)}", stderr=stderr)


def command_line(program: str, words: Sequence[str]) -> str:
    r"""Return a command for a shell; a word that no terminal can show is written as bash reads it.

    >>> print(command_line("featherbone", ["predict", "a b", "c\x1b"]))
    featherbone predict 'a b' $'c\x1b'
    """
    return " ".join([program, *map(_quoted, words)])


def _quoted(word: str) -> str:
    if word == printable(word):
        return shlex.quote(word)
    safe = re.sub(r"[\\']", r"\\\g<0>", word)
    shown = (c if c == printable(c) else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c)) for c in safe)
    return f"$'{''.join(shown)}'"
