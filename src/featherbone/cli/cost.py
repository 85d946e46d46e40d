"""cost: what a network costs on paper, and at least on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import featherbone as fb
from featherbone import errors
from featherbone.cli.options import Debug, InChans, Json, NumClasses, Size
from featherbone.cli.output import next_steps, say, show_json, show_table

if TYPE_CHECKING:
    from torch import nn


def cost(
    name: Annotated[str, typer.Argument(metavar="NAME|RUN", help="A network's name, a run's folder or a weight file.")],
    size: Size = None,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 1,
    by: Annotated[Literal["stage", "layer", "op"], typer.Option(help="What a line is.")] = "stage",
    training: Annotated[bool, typer.Option("--training", help="Work out a training step's live memory too.")] = False,
    roofline: Annotated[bool, typer.Option("--roofline", help="Add what each part takes here at least.")] = False,
    reconcile: Annotated[bool, typer.Option("--reconcile", help="Compare macs with PyTorch's and fvcore's.")] = False,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Count what a network costs, from the traced graph: parameters, operations, memory traffic and live memory."""
    model = fb.open_network(name, num_classes=num_classes, in_chans=in_chans)
    preprocess = fb.read_header(name).preprocess if Path(name).exists() else None
    side = size if size is not None else preprocess.size if preprocess else model.spec.usual_size
    counted = fb.cost(model, side, batch=batch, training=training)
    lean = fb.cost(fb.recompute(model), side, batch=batch, training=True).training_peak if training else None
    bounds = fb.roofline(counted, by=by) if roofline else []
    if json:
        extra: dict[str, object] = {"roofline": [asdict(bound) for bound in bounds]} if bounds else {}
        if lean:
            extra["recomputed_training_peak_bytes"] = lean.bytes
        if reconcile:
            extra["reconciled"] = [asdict(row) for row in fb.reconcile(model, side, batch=batch)]
        show_json({"name": name, **counted.to_dict(by), **extra})
        return
    say(f"{name} at {side}x{side}, batch {batch}", style="bold")
    _show_parts(counted, by, bounds)
    _show_totals(counted, lean)
    if reconcile:
        _show_counters(model, side, batch)
    for op, times in counted.unknown.items():
        say(f"not counted, for want of a formula: {op} ({errors.counted(times, 'time')})", style="yellow")
    finer = {"stage": "layer", "layer": "op", "op": "stage"}[by]
    next_steps(
        ["cost", name, "--by", finer], ["compare", name, "vovnet27_slim" if name != "vovnet27_slim" else "densenet121"]
    )


def _show_parts(counted: fb.Cost, by: Literal["stage", "layer", "op"], bounds: list[fb.Bound]) -> None:
    total = fb.CostRow("total", counted.params, counted.macs, counted.traffic_bytes)
    rows: list[tuple[str, ...]] = [
        (r.name, "x".join(map(str, r.output)), f"{r.params:,}", f"{r.macs:,}", f"{r.traffic_bytes / 1e6:,.2f}")
        for r in (*counted.by(by), total)
    ]
    columns = [by, "output", "params", "macs", "traffic MB"]
    if by == "layer":  # ShuffleNet V2's measure of a convolution, and G1's bound
        columns += ["access", "at least"]
        access = [(f"{r.memory_access:,}", f"{r.memory_access_bound:,.0f}") for r in counted.by(by)]
        rows = [(*row, *pair) for row, pair in zip(rows, [*access, ("", "")], strict=True)]
    if bounds:
        columns += ["at least ms", "bound by"]
        ends = [(f"{bound.bound_ms:.3f}", bound.binds) for bound in bounds]
        ends.append((f"{sum(bound.bound_ms for bound in bounds):.3f}", ""))
        rows = [(*row, *end) for row, end in zip(rows, ends, strict=True)]
    show_table(columns, rows, left=2)


def _show_totals(counted: fb.Cost, lean: fb.Peak | None) -> None:
    peak = counted.peak
    held = f"{peak.bytes / 1e6:,.2f} MB at most ({peak.path or 'its forward'}), without weights"
    facts = [
        ("operations", f"{counted.flops:,} (2 x macs), {counted.intensity:.1f} macs per byte moved"),
        ("in and out of convolutions (CIO)", f"{counted.cio / 1e6:,.3f} M elements"),
        ("activations", f"{counted.activations / 1e6:,.3f} M elements"),
        ("live memory, inference", held),
    ]
    if counted.training_peak and lean:
        plain, less = counted.training_peak.bytes / 1e6, lean.bytes / 1e6
        step = f"{plain:,.2f} MB at most, with gradients; {less:,.2f} MB with fb.recompute"
        facts.append(("live memory, training step", step))
    say("")
    show_table(("", ""), facts, left=2)


def _show_counters(model: nn.Module, side: int, batch: int) -> None:
    rows = [
        (row.op, f"{row.ours:,}", f"{row.torch:,}", "-" if row.fvcore is None else f"{row.fvcore:,}", row.why)
        for row in fb.reconcile(model, side, batch=batch)
    ]
    say("")
    show_table(("macs of", "ours", "PyTorch / 2", "fvcore", "why they differ"), rows)
