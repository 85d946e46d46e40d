"""optimize: the fastest equal form of a network on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import featherbone as fb
from featherbone.cli.options import Calibration, Debug, InChans, Json, MaxDrop, NetworkArgument, NumClasses, Size
from featherbone.cli.output import console, next_steps, say, show_json, show_table
from featherbone.errors import counted


def optimize(
    source: NetworkArgument,
    size: Size = None,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 1,
    engine: Annotated[
        str,
        typer.Option(help="openvino, onnxruntime, eager, compile, aot; several with commas; auto: the first three."),
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="f32, bf16, int8; several with commas; auto: the floats there are.")
    ] = "auto",
    calibration: Calibration = None,
    max_drop: MaxDrop = 0.01,
    threads: Annotated[int | None, typer.Option(help="Threads of the processor; default: all there are.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Measure again what is known.")] = False,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Try equal forms of a network on every engine here, side by side, and say which is fastest."""
    model = fb.open_network(source, num_classes=num_classes, in_chans=in_chans)
    with console(stderr=True).status("capturing the network") as status:
        report = fb.optimize(
            source if Path(source).exists() else model,
            size,
            batch=batch,
            engine="auto" if engine == "auto" else engine.split(","),
            precision="auto" if precision == "auto" else precision.split(","),
            calibration=calibration,
            max_drop=max_drop,
            threads=threads,
            refresh=refresh,
            log=status.update,
        ).report
    if json:
        show_json(report.to_dict())
        return
    height, width = report.size
    say(f"{source} at {height}x{width}, batch {report.batch}, {counted(report.threads, 'thread')}", style="bold")
    rows = [
        (
            f"{way.engine} {way.precision}",
            str(way.variant) + (" *" if way.way == report.chosen.way else ""),
            *((f"{t.median_ms:.2f}", f"{t.p10_ms:.2f}-{t.p90_ms:.2f}") if (t := way.timing) else ("-", way.problem)),
            "-" if way.error is None else f"{way.error:.0e}",
        )
        for way in sorted(report.candidates, key=lambda way: way.milliseconds)
    ]
    show_table(("engine", "form", "ms", "p10-p90", "error"), rows, left=2)
    for rule, times in report.applied.items():
        if times:
            say(f"{rule}: {times}")
    known = f", measured {report.machine['date']} UTC (--refresh measures again)" if report.remembered else ""
    say(f"{report.verdict}{known}", style="bold")
    suffix = {"onnxruntime": ".onnx"}.get(report.chosen.engine, ".xml")
    next_steps(["export", source, "--out", f"network{suffix}", "--optimize"])
