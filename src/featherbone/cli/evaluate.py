"""evaluate: how good a trained network is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import featherbone as fb
from featherbone.cli.options import Debug, Device, Json, Overwrite, RunArgument
from featherbone.cli.output import next_steps, say, show_json, show_skipped, show_table
from featherbone.files import PICTURES, check_output, check_outside


def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None, typer.Argument(help="Whatever 'train' takes; default: the run's held-out images.")
    ] = None,
    split: Annotated[
        Literal["train", "val", "test", "all"] | None, typer.Option(help="The images of this split of the data.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Draw the confusion matrix: .png, .svg or .pdf. Of a detector: precision and recall, and beside it "
            "the confusion matrix as NAME-confusion."
        ),
    ] = None,
    device: Device = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a trained network: top-1 and top-5 on labelled images, average precision on images with boxes."""
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    if out:
        check_output("--out", out, PICTURES, overwrite=overwrite)
        if data:
            check_outside("--out", out, data)
    result = fb.evaluate(run, data, split=split, device=device)
    pictures = fb.evaluation_pictures(run, result, out, overwrite=overwrite) if out else {}
    if json:
        show_json({**result.to_dict(), "pictures": {name: str(path) for name, path in pictures.items()}})
        return
    titles, rows = result.table
    show_table(titles, rows)
    say("")
    show_table(("", ""), result.facts, left=2)
    say("")
    for name, path in pictures.items():
        say(f"{name.replace('_', ' ')}: {path}")
    show_skipped(result.skipped)
    drawn = [["evaluate", run, *([data] if data else []), "--out", "confusion.png"]] if not out else []
    next_steps(*drawn, ["predict", run, "IMAGES"], ["export", run, "--to", "onnx", "--out", str(folder / "model.onnx")])
