"""export: a file for a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import featherbone as fb
from featherbone.cli.options import Calibration, Debug, InChans, Json, MaxDrop, NetworkArgument, NumClasses, Overwrite
from featherbone.cli.output import console, next_steps, show_json, show_table
from featherbone.errors import counted


def export(
    source: NetworkArgument,
    out: Annotated[Path, typer.Option(help="The file to write: .onnx, .xml, .pt2 or .pte; or the folder.")],
    to: Annotated[
        Literal["onnx", "openvino", "torch", "executorch"] | None,
        typer.Option(help="The format; default by the suffix, for a folder onnx."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the input, in pixels; default: as trained or published.")
    ] = None,
    folder: Annotated[
        bool,
        typer.Option(
            "--folder",
            help="Make OUT a folder: model, labels, preprocessing, and a script that needs only the runtime.",
        ),
    ] = False,
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Write the form that is fastest on the format's engine here (minutes).")
    ] = False,
    precision: Annotated[Literal["f32", "int8"], typer.Option(help="int8: OpenVINO only, with --calibration.")] = "f32",
    calibration: Calibration = None,
    max_drop: MaxDrop = 0.01,
    score: Annotated[float | None, typer.Option(help="Of a detector: the least score of a box; default 0.25.")] = None,
    iou: Annotated[
        float | None,
        typer.Option(help="Of a detector: of two boxes of a class that overlap more, one stays; default 0.6."),
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(help="Of a detector: boxes of an image at most; default 100.")
    ] = None,
    overwrite: Overwrite = False,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a network for ONNX Runtime, OpenVINO, PyTorch or ExecuTorch, and verify the file's outputs."""
    model = fb.open_network(source, num_classes=num_classes, in_chans=in_chans)
    asked = source if Path(source).exists() else model  # a run knows its classes, preprocessing and images
    with console(stderr=True).status("rewriting, writing, comparing"):
        result = fb.export(
            asked,
            out,
            to=to,
            size=size,
            folder=folder,
            optimize=optimize,
            precision=precision,
            calibration=calibration,
            max_drop=max_drop,
            score=score,
            iou=iou,
            max_detections=max_detections,
            overwrite=overwrite,
        )
    if json:
        show_json(result.to_dict())
        return
    batch = "batch size free" if result.batch is None else "one image at a time"
    facts = [
        ("file", f"{result.path} ({result.format}, {batch}, {'int8' if result.int8 else 'float32'})"),
        *([("folder", f"{result.folder}: README.md says how to use it")] if result.folder else []),
        *([("fastest here", result.report.verdict)] if result.report else []),
        *([("int8", str(result.int8))] if result.int8 else []),
        *((name, counted(times, "time")) for name, times in result.rewrites.items()),
        *result.proof.items(),
    ]
    show_table(("", ""), facts, left=2)
    next_steps(
        ["cost", source],
        ["predict", source, "IMAGES"] if Path(source).exists() else ["train", "--model", source],
        script=["python", str(result.folder / "run.py"), "IMAGE"] if result.folder else (),
    )
