"""list, show: the networks themselves."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

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
    say("")
    say(f"feature maps: channels {model.channels}, strides {model.strides}")
    next_steps(
        ["cost", name], ["train", "digits", "--model", name], ["export", name, "--to", "onnx", "--out", f"{name}.onnx"]
    )


def _weights(name: str) -> str:
    try:
        published = fb.published_weights(name)
    except fb.InputError:
        return "none"
    return f"{published.name} ({published.place}), {published.preprocess.size} pixels"
