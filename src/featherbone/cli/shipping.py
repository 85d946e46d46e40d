"""export: a file for a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import featherbone as fb
from featherbone.cli.options import Debug, InChans, Json, NumClasses
from featherbone.cli.output import console, next_steps, show_json, show_table


def export(
    source: Annotated[
        str,
        typer.Argument(metavar="RUN|NAME", help="A run's folder, a weight file, or a network's name (random weights)."),
    ],
    out: Annotated[Path, typer.Option(help="The file to write: .onnx or .xml.")],
    to: Annotated[Literal["onnx", "openvino"] | None, typer.Option(help="The format; default by the suffix.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the input, in pixels; default: as trained or published.")
    ] = None,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a network for ONNX Runtime or OpenVINO, proven equal; nothing is written if it is not."""
    model = fb.open_network(source, num_classes=num_classes, in_chans=in_chans)
    asked = source if Path(source).exists() else model  # a run knows its classes, preprocessing and images
    with console(stderr=True).status("rewriting, writing, comparing"):
        result = fb.export(asked, out, to=to, size=size)
    if json:
        show_json(result.to_dict())
        return
    share = result.largest_error / result.largest_output if result.largest_output else 0.0
    facts = [
        ("file", f"{result.path} ({result.format}, batch size free, float32)"),
        *((name, f"{times} times") for name, times in result.rewrites.items()),
        ("compared", f"on {result.samples} images, random and real, one by one and as a batch"),
        ("largest difference", f"{result.largest_error:.2g} ({share:.1g} of the largest output)"),
        ("same first class", f"{result.same_answers:.2%}"),
    ]
    show_table(("", ""), facts, left=2)
    next_steps(
        ["cost", source], ["predict", source, "IMAGES"] if Path(source).exists() else ["train", "--model", source]
    )
