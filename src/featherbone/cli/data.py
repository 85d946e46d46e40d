"""data check: what is in a data set, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import featherbone as fb
from featherbone.cli.options import Debug, Json, Overwrite
from featherbone.cli.output import command_line, next_steps, note, say, show_json, show_skipped, show_table
from featherbone.files import check_output

app = typer.Typer(help="Look at a data set before anything is trained on it.", no_args_is_help=True)

_MOST_CLASSES = 40


@app.callback()
def data() -> None:
    """Look at a data set before anything is trained on it."""


@app.command()
def check(
    source: Annotated[str, typer.Argument(metavar="DATA", help="Whatever train takes: a folder, a table, shards ...")],
    out: Annotated[Path | None, typer.Option(help="A page with sample images to write: .html.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Decode every image once and report what is broken, duplicated, mislabelled, odd or missing."""
    if out:
        check_output("--out", out, [".html"], overwrite=overwrite)
    note(f"checking {source} ...")
    found = fb.check_data(source)
    if out:
        fb.data_page(found, out, caption=command_line("featherbone", ["data", "check", source]), overwrite=overwrite)
    if json:
        show_json({**found.to_dict(), **({"page": str(out)} if out else {})})
        return
    titles, rows = found.table
    show_table(titles, rows[:_MOST_CLASSES])
    if len(rows) > _MOST_CLASSES:
        say(f"and {len(rows) - _MOST_CLASSES:,} more (all of them with --json)")
    say("")
    show_table(("", ""), found.facts, left=2)
    say("")
    for finding in found.findings:
        say(f"{finding.severity:7}  {finding.text}", style="bold" if finding.severity == "error" else "")
    if not found.findings:
        say("nothing is wrong: every file can be read, and no image is there twice")
    show_skipped((*found.left_out, *found.broken))
    if out:
        say("")
        say(f"written: {out}")
    look = ["data", "check", source, "--out", "data.html"]
    fit = not any(finding.severity == "error" for finding in found.findings)
    next_steps(*([] if out else [look]), *([["train", source]] if fit else []))
