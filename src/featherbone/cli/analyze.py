"""analyze: the papers' own experiments."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer

import featherbone as fb
from featherbone.cli.options import Debug, Json, Overwrite
from featherbone.cli.output import console, say, show_json, show_table
from featherbone.errors import counted, needs
from featherbone.files import PICTURES, check_output


def analyze(
    what: Annotated[Literal["guidelines"], typer.Argument(help="guidelines: ShuffleNet V2's G1 to G4, run again.")],
    threads: Annotated[int, typer.Option(help="Threads of the processor; the paper's figures are of one.")] = 1,
    rounds: Annotated[int, typer.Option(help="How often each network runs, in turn with the others.")] = 15,
    only: Annotated[str | None, typer.Option(help="Some of them: G1,G3.")] = None,
    out: Annotated[Path | None, typer.Option(help="A picture to write: .png, .svg or .pdf.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a paper's experiment on this machine, and set it beside the paper's figures."""
    if out:
        check_output("--out", out, PICTURES, overwrite=overwrite)
        with needs("train", "drawing"):
            import_module("matplotlib")
    wanted = only.split(",") if only else []
    with console(stderr=True).status("measuring, in turn") as status:
        results = fb.guidelines(
            threads=threads,
            rounds=rounds,
            only=wanted,
            progress=lambda done: status.update(f"measuring, in turn: {done:.0%}"),
        )
    if out:
        fb.draw_guidelines([_plain(result) for result in results], out, overwrite=overwrite)
    if json:
        show_json({"results": [_to_dict(result) for result in results]})
        return
    for result in results:
        experiment = result.experiment
        columns = [f"{name}{mark}" for mark in ("", " paper") for name in experiment.columns]
        rows = [
            (line, *(f"{speed:.1f}" for speed in ours), *(f"{speed:.1f}" for speed in theirs))
            for line, ours, theirs in zip(experiment.lines, result.speeds, experiment.paper, strict=True)
        ]
        title = f"{experiment.guideline}: {experiment.question}, images/s here and in the paper (ARM)"
        show_table((experiment.question, *columns), rows, title=title)
        ranks = ", ".join(f"{n} {r:.2f}" for n, r in zip(experiment.columns, result.agreement, strict=True))
        say(f"rank agreement with the paper: {ranks}")
        say("")
    here = results[0].machine
    cores = f"{threads} of {counted(here.cores, 'core')}"
    say(f"{here.processor}, {here.instructions}, {cores}; torch {here.torch}, {here.date} UTC")
    if out:
        say(f"written: {out}")


def _plain(
    result: fb.GuidelineResult,
) -> tuple[str, tuple[str, ...], tuple[str, ...], tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    experiment = result.experiment
    title = f"{experiment.guideline}: {experiment.question}"
    return title, experiment.lines, experiment.columns, result.speeds, experiment.paper


def _to_dict(result: fb.GuidelineResult) -> dict[str, object]:
    experiment = result.experiment
    return {
        "guideline": experiment.guideline,
        "lines": list(experiment.lines),
        "columns": list(experiment.columns),
        "images_per_s": [list(line) for line in result.speeds],
        "paper": [list(line) for line in experiment.paper],
        "agreement": list(result.agreement),
    }
