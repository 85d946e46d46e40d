"""list, show: the networks themselves."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import featherbone as fb
from featherbone.cli.options import Debug, Json, Size
from featherbone.cli.output import next_steps, say, show_json, show_table


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
    name: Annotated[str, typer.Argument(metavar="NAME|RUN", help="A network's name, a run's folder or a weight file.")],
    size: Size = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the row of a network, the shapes of its maps, and of a trained one its classes."""
    header = fb.read_header(name) if Path(name).exists() else None
    model = fb.open_network(name)
    network = model.spec if isinstance(model, fb.Backbone) else model.spec.backbone
    row = _row(model.spec)
    known = header.preprocess if header else None
    side = size if size is not None else known.size if known else model.spec.usual_size
    parts = [r for r in fb.cost(model, side).by("stage") if r.output]
    tapped = model if isinstance(model, fb.Backbone) else model.neck
    shapes = [(r.name, "x".join(map(str, r.output[1:])), r.params) for r in parts]
    if json:
        maps = [{"name": n, "shape": shape, "params": p} for n, shape, p in shapes]
        taps = {"channels": list(tapped.channels), "strides": list(tapped.strides)}
        trained = {"classes": list(header.classes), "preprocess": known.to_dict() if known else None} if header else {}
        trained |= {"notes": list(header.notes)} if header and header.notes else {}
        about = {"name": name, "family": model.spec.family, "paper": network.paper}
        show_json({**about, "row": row, "parts": maps, **taps, **trained})
        return
    say(f"{name}  ({fb.form(name) if header is None else model.spec.family})", style="bold")
    say(network.paper)
    if network.partial_ratio and not network.family.startswith("csp"):
        say("with the wiring of Wang et al.: CSPNet, arXiv 1911.11929")
    if header is None:
        say(f"published weights: {_weights(name)}")
    else:
        say(f"classes: {', '.join(header.classes) or 'not known'}")
        for remark in header.notes:
            say(f"note: {remark}")
    say("")
    show_table(("column", "value"), list(row.items()), left=2)
    say("")
    show_table(("part", f"output at {side}", "params"), [(n, shape, f"{p:,}") for n, shape, p in shapes])
    say("")
    say(f"feature maps: channels {tapped.channels}, strides {tapped.strides}")
    use = ["predict", name, "IMAGES"] if header else ["train", "digits", "--model", name]
    next_steps(
        ["cost", name], use, ["export", name, "--to", "onnx", "--out", "model.onnx" if header else f"{name}.onnx"]
    )


def _row(spec: object) -> dict[str, Any]:
    """Return the columns of a row; those of rows within it under its name: ``backbone.growth_rate``."""
    if not is_dataclass(spec):
        return {}
    row: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        row |= {f"{field.name}.{name}": inner for name, inner in _row(value).items()} or {field.name: value}
    return row


def _weights(name: str) -> str:
    try:
        published = fb.published_weights(name)
    except fb.InputError:
        return "none"
    return f"{published.name} ({published.place}), {published.preprocess.size} pixels"
