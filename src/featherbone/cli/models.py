"""list, show, cost: the networks themselves."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import typer

import featherbone as fb
from featherbone.cli.options import Debug, InChans, Json, NumClasses
from featherbone.cli.output import next_steps, say, show_json, show_table

Size = Annotated[int | None, typer.Option(help="Side of the input, in pixels; default: as trained or published.")]


def list_(
    pattern: Annotated[str, typer.Argument(help="A shell pattern, for example 'vovnet*'.")] = "*",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the networks."""
    names = fb.list_models(pattern)
    if not names:
        raise fb.InputError(f"no network is called {pattern!r}: 'featherbone list' shows all {len(fb.list_models())}")
    rows = [(name, fb.spec(name).family, fb.count_parameters(name), fb.form(name)) for name in names]
    if json:
        show_json({"models": [dict(zip(("name", "family", "params", "form"), row, strict=True)) for row in rows]})
        return
    show_table(("name", "family", "form", "params"), [(n, f, form, f"{p:,}") for n, f, p, form in rows], left=3)
    next_steps(["show", names[0]], ["cost", names[0]], ["train", "digits", "--model", names[0]])


def show(
    name: Annotated[str, typer.Argument(help="A network's name.")],
    size: Size = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the paper's row of a network, and the shapes of its maps."""
    spec = fb.spec(name)
    model = fb.create_model(spec)
    row = {field.name: getattr(spec, field.name) for field in fields(spec)}
    side = size if size is not None else spec.usual_size
    parts = [r for r in fb.cost(model, side).by("stage") if r.output]
    shapes = [(r.name, "x".join(map(str, r.output[1:])), r.params) for r in parts]
    if json:
        maps = [{"name": n, "shape": shape, "params": p} for n, shape, p in shapes]
        taps = {"channels": list(model.channels), "strides": list(model.strides)}
        show_json({"name": name, "family": spec.family, "paper": spec.paper, "row": row, "parts": maps, **taps})
        return
    say(f"{name}  ({fb.form(name)})", style="bold")
    say(spec.paper)
    if spec.partial_ratio and not spec.family.startswith("csp"):
        say("with the wiring of Wang et al.: CSPNet, arXiv 1911.11929")
    say(f"published weights: {_weights(name)}")
    say("")
    show_table(("column", "value"), list(row.items()), left=2)
    say("")
    show_table(("part", f"output at {side}", "params"), [(n, shape, f"{p:,}") for n, shape, p in shapes])
    say(f"\nfeature maps: channels {model.channels}, strides {model.strides}")
    next_steps(
        ["cost", name], ["train", "digits", "--model", name], ["export", name, "--to", "onnx", "--out", f"{name}.onnx"]
    )


def cost(
    name: Annotated[str, typer.Argument(metavar="NAME|RUN", help="A network's name, a run's folder or a weight file.")],
    size: Size = None,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 1,
    by: Annotated[Literal["stage", "layer", "op"], typer.Option(help="What a line is.")] = "stage",
    training: Annotated[bool, typer.Option("--training", help="Work out a training step's live memory too.")] = False,
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
    if json:
        show_json({"name": name, **counted.to_dict(by)})
        return
    say(f"{name} at {side}x{side}, batch {batch}", style="bold")
    total = fb.CostRow("total", counted.params, counted.macs, counted.traffic_bytes)
    rows = [
        (r.name, "x".join(map(str, r.output)), f"{r.params:,}", f"{r.macs:,}", f"{r.traffic_bytes / 1e6:,.2f}")
        for r in (*counted.by(by), total)
    ]
    show_table((by, "output", "params", "macs", "traffic MB"), rows, left=2)
    peak = counted.peak
    facts = [
        ("operations", f"{counted.flops:,} (2 x macs), {counted.intensity:.1f} macs per byte moved"),
        ("in and out of convolutions (CIO)", f"{counted.cio / 1e6:,.3f} M elements"),
        ("activations", f"{counted.activations / 1e6:,.3f} M elements"),
        (
            "live memory, inference",
            f"{peak.bytes / 1e6:,.2f} MB at most ({peak.path or 'its forward'}), without weights",
        ),
    ]
    if counted.training_peak:
        facts.append(
            ("live memory, training step", f"{counted.training_peak.bytes / 1e6:,.2f} MB at most, with gradients")
        )
    say("")
    show_table(("", ""), facts, left=2)
    for op, times in counted.unknown.items():
        say(f"not counted, for want of a formula: {op} ({times} times)", style="yellow")
    finer = {"stage": "layer", "layer": "op", "op": "stage"}[by]
    next_steps(["cost", name, "--by", finer], ["export", name, "--to", "openvino", "--out", f"{Path(name).name}.xml"])


def _weights(name: str) -> str:
    try:
        published = fb.published_weights(name)
    except fb.InputError:
        return "none"
    return f"{published.name} ({published.place}), {published.preprocess.size} pixels"
