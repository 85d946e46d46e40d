"""compare: networks side by side on this machine."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer

import featherbone as fb
from featherbone.cli.options import Debug, Json, Overwrite
from featherbone.cli.output import command_line, console, next_steps, say, show_json, show_table
from featherbone.errors import counted, needs
from featherbone.files import check_output, write_text


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|RUN]...", help="Networks, runs or weight files; default: one of each family."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the images, in pixels; default: the one that all are published for, else 224."),
    ] = None,
    batch: Annotated[str, typer.Option(help="Images at a time; several with commas: 1,8,32.")] = "1",
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    precision: Annotated[Literal["f32", "bf16", "f16"], typer.Option(help="Of weights and images.")] = "f32",
    threads: Annotated[int | None, typer.Option(help="Threads of the processor; default: all there are.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each network runs, in turn with the others.")] = 30,
    channels_first: Annotated[bool, typer.Option("--channels-first", help="Keep the other memory order.")] = False,
    report: Annotated[Path | None, typer.Option(help="A page with plots to write: one .html file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="The rows to write as .csv.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure networks side by side on this machine, beside what they cost on paper."""
    _check_outputs(report, csv, overwrite=overwrite)
    with console(stderr=True).status("working out costs") as status:
        result = fb.compare(
            names or None,
            size=size,
            batches=_batches(batch),
            device=device,
            precision=precision,
            threads=threads,
            channels_last=not channels_first,
            rounds=rounds,
            progress=lambda done: status.update(f"measuring, in turn: {done:.0%}"),
        )
    if csv:
        write_text(csv, result.to_csv())
    if report:
        fb.comparison_page(result, report, caption=command_line("featherbone", sys.argv[1:]), overwrite=overwrite)
    if json:
        show_json(result.to_dict())
        return
    where = result.machine
    for group in result.groups:
        show_group(group)
    here = where.accelerator or f"{where.processor}, {where.instructions}, {counted(where.cores, 'core')}"
    say("")
    say(f"{here}; torch {where.torch}, {where.system}, {where.date} UTC", style="dim")
    for path in (csv, report):
        if path:
            say(f"written: {path}")
    if not report:
        next_steps(["compare", *(names or []), "--report", "compare.html"])


def _check_outputs(report: Path | None, csv: Path | None, *, overwrite: bool) -> None:
    """Refuse what could not be written after the measurement."""
    if report:
        check_output("--report", report, [".html"], overwrite=overwrite)
    if csv:  # nothing of ours can stand in it
        check_output("--csv", csv, [".csv"], overwrite=overwrite, mark=None)
    if report:
        with needs("report", "the page of a comparison"):
            import_module("plotly")


def show_group(group: fb.ComparisonGroup) -> None:
    """Print the table of one setting."""
    setting = group.setting
    height, width = setting.size
    order = "channels last" if setting.channels_last else "channels first"
    threads = f", {counted(setting.threads, 'thread')}" if setting.device == "cpu" else ""
    title = f"{width}x{height}, batch {setting.batch}, {setting.device}, {setting.precision}, {order}{threads}"
    rows = []
    for entry in group.entries:
        speed, timing = group.speed(entry), entry.timing
        rows.append(
            (
                entry.name,
                f"{timing.median_ms:.2f}",
                f"{timing.p10_ms:.2f}-{timing.p90_ms:.2f}",
                f"{timing.p99_ms:.2f}",
                timing.runs,
                f"{speed['images_per_s']:.1f}",
                f"{speed['of_peak']:.0%}",
                f"{entry.bound_ms:.2f}",
                f"{entry.params / 1e6:.2f}",
                f"{entry.macs / 1e6:,.0f}",
                f"{entry.traffic_bytes / 1e6:,.1f}",
                f"{entry.cio / 1e6:.2f}",
                "-" if (peak := entry.measured_peak_bytes) is None else f"{peak / 1e6:.1f}",
            )
        )
    columns = ("network", "ms", "p10-p90", "p99", "n", "images/s", "of peak", "roofline ms")
    costs = ("M params", "M macs", "traffic MB", "M CIO", "peak MB")
    show_table((*columns, *costs), rows, title=title)
    flops, moved = group.rates.flops / 1e9, group.rates.bytes / 1e9
    say(f"this machine under the same setting: {flops:,.0f} GFLOP/s (matrix product), {moved:.1f} GB/s (copy)")
    if len(group.entries) > 2:
        ranks = ", ".join(f"{name} {value:.2f}" for name, value in group.correlations().items())
        say(f"how each cost ranks the times (1 is the same order): {ranks}")
    used = {entry.energy.source for entry in group.entries}
    joules = [f"{entry.name} {entry.energy.joules:.3g} J" for entry in group.entries if entry.energy.joules is not None]
    say(f"energy per image: {', '.join(joules) or '; '.join(sorted(used))}")


def _batches(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise fb.InputError(f"--batch={text!r} is not allowed: whole numbers with commas between, as 1,8,32") from error
