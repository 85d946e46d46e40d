"""import: weights of other projects."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer

import featherbone as fb
from featherbone.cli.columns import columns
from featherbone.cli.options import Debug, Json, Overwrite
from featherbone.cli.output import next_steps, say, show_json, show_table
from featherbone.errors import counted, some


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Safetensors, a PyTorch checkpoint, or darknet's .weights.")
    ],
    network: Annotated[str, typer.Option("--as", metavar="NAME", help="The network; 'featherbone list' shows all.")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="COLUMN=VALUE",
            help="Change a column of the network's row ('featherbone show NAME'), such as layers=6,12,24.",
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGEX=TEXT", help=r"Change names in the file first, such as '^net\.=' or 'bn(\d)=norm\1'; in turn."
        ),
    ] = None,
    form: Annotated[
        str, typer.Option(metavar="PROJECT", help="Whose form it has, where names and shapes are those of several.")
    ] = "",
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz", help="Arrays 'input' and 'output' of the original network: ours must give the same."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="With --check: the largest difference, as a share of the largest output.")
    ] = 1e-4,
    check_accuracy: Annotated[
        str | None, typer.Option(metavar="DATA", help="Labelled images, as 'evaluate' takes them: prints the top-1.")
    ] = None,
    least: Annotated[
        float | None, typer.Option(help="With --check-accuracy: the top-1 that it must reach, in percent.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; default: NAME.safetensors here.")] = None,
    overwrite: Overwrite = False,
    config: Annotated[Path | None, typer.Option(help="darknet's .cfg; default: beside the weights.")] = None,
    part: Annotated[
        str, typer.Option(metavar="NAME", help="Of several weights in the file, those under this name: state_dict.")
    ] = "",
    size: Annotated[int | None, typer.Option(help="Side of the images the weights want, in pixels.")] = None,
    mean: Annotated[str | None, typer.Option(help="Their mean per channel, 0 to 1: 0.49,0.48,0.45.")] = None,
    std: Annotated[str | None, typer.Option(help="Their standard deviation likewise.")] = None,
    bgr: Annotated[bool, typer.Option("--bgr", help="Blue comes first (with --mean and --std).")] = False,
    classes: Annotated[Path | None, typer.Option(help="A text file with the classes' names, one a line.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn another project's weights into a file that describes itself; say what was missing or left over."""
    target = out or Path(f"{network}.safetensors")
    if out is None and target.exists() and not overwrite:
        raise fb.InputError(f"{target} exists: say where to write with --out FILE")
    given = _preprocess(network, size, mean, std, bgr=bgr)
    if least is not None and check_accuracy is None:
        raise fb.InputError("--least goes with --check-accuracy DATA")
    row = fb.spec(network)
    lists = [field.name for field in fields(row) if isinstance(getattr(row, field.name), tuple)]
    model, report = fb.import_file(
        file,
        network,
        target,
        changes=columns(column or [], lists, "layers=6,12,24"),
        rename=[_rule(one) for one in rename or []],
        form=form,
        check=check,
        tolerance=tolerance,
        data=check_accuracy,
        least=least,
        config=config,
        part=part,
        classes=classes or (),
        preprocess=given,
        overwrite=overwrite,
    )
    images = given or report.preprocess
    if json:
        preprocess = images.to_dict() if images else None
        values = {name: value for name, value in asdict(report).items() if name != "preprocess"}
        show_json({"path": str(target), **values, "preprocess": preprocess})
        return
    outputs, inputs = model.spec.num_classes, model.spec.in_chans
    facts = [
        ("file", f"{target} ({network}, {counted(outputs, 'class', 'classes')}, {counted(inputs, 'channel')})"),
        ("form", report.source),
        ("loaded", counted(report.loaded, "tensor") + (f" under {report.part}" if report.part else "")),
        *(("note", note) for note in report.notes),
        *([("not read", some(report.others, 8))] if report.others else []),
        ("missing", _some(report.missing, "random as they were")),
        ("left over", _some(report.left_over, "no layer takes them")),
        ("images", _shown(images)),
        *([("proof", str(report.proof))] if report.proof else []),
        *([("top-1", f"{report.accuracy:.2%} of {check_accuracy}")] if report.accuracy is not None else []),
    ]
    show_table(("", ""), facts, left=2)
    if report.unproved:
        say(report.unproved, style="bold yellow")
    if report.untold:
        say(f"no tensor tells {some(report.untold, 9)}: --set says otherwise, --check proves it", style="yellow")
    if report.missing:
        say("last layers are untrained: use its features, or train it", style="yellow")
    export = [] if report.missing else [["export", str(target), "--out", f"{network}.onnx"]]
    next_steps(["train", "DATA", "--weights", str(target)], ["cost", str(target)], *export)


def _rule(text: str) -> tuple[str, str]:
    """Return a regular expression and what takes its place; the last "=" stands between, as names hold none."""
    pattern, equals, replacement = text.rpartition("=")
    if not equals or not pattern:
        raise fb.InputError(f"--rename {text} is not allowed: REGEX=TEXT, for example '^net\\.='")
    return pattern, replacement


def _some(names: tuple[str, ...], why: str) -> str:
    if not names:
        return "nothing"
    return f"{counted(len(names), 'tensor')} ({why}): {some(names, 3)}"


def _shown(images: fb.Preprocess | None) -> str:
    if images is None:
        return "how it wants them is not known: --size, --mean, --std"
    order = "BGR" if images.bgr else "grey" if images.channels == 1 else "RGB"
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (images.mean, images.std))
    return f"{images.size} pixels, {images.crop:.3g} of the short side, {order}, mean {mean}, std {std}"


def _preprocess(
    network: str, size: int | None, mean: str | None, std: str | None, *, bgr: bool
) -> fb.Preprocess | None:
    if mean is None and std is None:
        if size is not None or bgr:
            raise fb.InputError("--size and --bgr go with --mean and --std")
        return None
    if mean is None or std is None:
        raise fb.InputError("--mean and --std go together")
    side = size if size is not None else fb.spec(network).usual_size
    return fb.Preprocess(size=side, mean=_numbers("--mean", mean), std=_numbers("--std", std), bgr=bgr)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise fb.InputError(
            f"{option}={text!r} is not allowed: numbers with commas between, for example 0.5,0.5,0.5"
        ) from error
