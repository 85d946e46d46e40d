"""predict: what a network predicts for images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import featherbone as fb
from featherbone.cli.options import Debug, Device, Json, Overwrite, RunArgument
from featherbone.cli.output import next_steps, say, show_json, show_skipped, show_table


def predict(
    run: RunArgument,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, patterns; videos, too.")],
    top: Annotated[int, typer.Option(help="How many classes to name per image in --json.")] = 5,
    score: Annotated[
        float | None, typer.Option(help="Of a detector: the least score of a box, 0 to 1; default 0.25.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Of a detector: the folder for pictures with the boxes; default RUN/predictions."),
    ] = None,
    device: Device = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify images, or find boxes in images and videos."""
    result = fb.predict_files(run, images, out=out, top=top, score=score, device=device, overwrite=overwrite)
    if json:
        show_json(result.to_dict())
        return
    show_table(result.columns, result.rows, left=2)
    if result.pictures:
        say("")
        say(f"drawn in {result.pictures[0].parent}")
    show_skipped(result.skipped)
    next_steps(["predict", run, images[0], "--json"], ["export", run, "--to", "onnx", "--out", "model.onnx"])
