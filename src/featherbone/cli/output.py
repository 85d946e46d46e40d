"""What every verb shares: tables, JSON, one-sentence messages, and what can be done next."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# a table in a pipe or a file is not cut to a width that nobody looks at
_WIDE = 200

_MOST_SKIPPED = 20


def console(*, stderr: bool = False) -> Console:
    """Return a console on the output or error stream."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDE)


def say(text: str, *, style: str = "", stderr: bool = False) -> None:
    """Print one line, never broken, so that it can be copied."""
    console(stderr=stderr).print(Text(text, style=style), soft_wrap=True)


def note(text: str) -> None:
    """Tell whoever watches a terminal what is going on; a log needs no such line."""
    if console(stderr=True).is_terminal:
        say(text, style="dim", stderr=True)


def complain(text: str) -> None:
    """Print one line to the error stream."""
    say(f"featherbone: {text}", stderr=True)


def show_json(value: Any) -> None:
    """Print one JSON object, and nothing else, to the output stream."""
    print(json.dumps(value, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", left: int = 1) -> None:
    """Print a table; the first ``left`` columns are words, the rest numbers."""
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        show_header=any(columns),
        pad_edge=False,
    )
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console().print(table)


def show_skipped(files: Sequence[Any]) -> None:
    """List the files that could not be read."""
    if not files:
        return
    say("")
    show_table(("left out", "why"), [(file.path, file.reason) for file in files[:_MOST_SKIPPED]], left=2)
    if len(files) > _MOST_SKIPPED:
        say(f"and {len(files) - _MOST_SKIPPED} more (all of them with --json)")


def next_steps(*commands: Sequence[str], stderr: bool = False) -> None:
    """Say what can be done next, as commands that can be copied."""
    # under 'uv run' the command is not on the caller's own PATH
    program = "uv run featherbone" if "UV_RUN_RECURSION_DEPTH" in os.environ else "featherbone"
    say("", stderr=stderr)
    say("next:", style="dim", stderr=stderr)
    for command in commands:
        say(f"  {program} {shlex.join(command)}", stderr=stderr)
