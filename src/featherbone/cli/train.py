"""train: from images to a network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import featherbone as fb
from featherbone.cli.columns import columns
from featherbone.cli.options import Debug, Device, Json
from featherbone.cli.output import next_steps, note, say, show_json, show_skipped, show_table, tell
from featherbone.errors import counted, masked

_DIGITS = "digits"
_LISTS = ("freeze", "milestones", "train_size")


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="'digits' (the default), a folder of class folders or one with them in train/ and val/, a table "
            "(.csv, .tsv, .parquet), the files of CIFAR or MNIST, shards (.tar, also at URLs), or hf:NAME; or images "
            "with boxes: COCO's .json, folders of Pascal VOC or YOLO."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A network's name; 'featherbone list' shows all. Default shufflenet_v2_x0_5, "
            "for boxes shufflenet_v2_x1_0."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/DATA-MODEL-1 and so on.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Continue the interrupted run, or runs of several seeds, in this folder.", metavar="RUN"),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A run or weight file to start from.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="A run or weight file whose answers are learned, too.")] = None,
    neck: Annotated[
        str | None,
        typer.Option(help="Of a detector: fpn, pan, prn, prn_3l, cem, gfm, efm, efm_sam, efm_spp; default efm."),
    ] = None,
    head: Annotated[
        Literal["anchors", "free"] | None, typer.Option(help="Of a detector: free of anchors (default), or YOLOv3's.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How to train: densenet, shufflenet, cspnet, modern, small, photos, transfer, digits, detection, "
            "scratch; default: what suits the data."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    time: Annotated[
        str | None,
        typer.Option(help="How long to train instead of --epochs, such as 10min, 1h or 90s; resume goes on with it."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input, in pixels.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides weights, split, order and augmentation; the first of several.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Train with so many seeds, one after another, each in a folder of its own in OUT.")
    ] = 1,
    precision: Annotated[
        Literal["auto", "f32", "bf16"] | None, typer.Option(help="auto measures which is faster here.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode images.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="COLUMN=VALUE",
            help="Change any column of the recipe, such as mixup=0.2, or fraction=0.1 for a tenth of the images.",
        ),
    ] = None,
    devices: Annotated[int, typer.Option(help="Processes on this machine that share every batch.")] = 1,
    device: Device = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="With --resume: go on although files or versions have changed; the result names what.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network on your images, or on handwritten digits that need no download."""
    given: dict[str, Any] = {
        "epochs": epochs,
        "size": size,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "precision": precision,
        "workers": workers,
    }
    given["minutes"] = _minutes(time)
    changes = {name: value for name, value in given.items() if value is not None} | columns(
        column or [], _LISTS, "mixup=0.2"
    )
    log = _silent if quiet else tell
    if not quiet and "RANK" not in os.environ:  # of several processes none says it
        note(f"preparing to {f'resume {resume}' if resume else f'train on {masked(data or _DIGITS)}'} ...")
    if resume:
        others = {"data": data, "model": model, "out": out, "weights": weights, "teacher": teacher, "recipe": recipe}
        others |= {"neck": neck, "head": head}
        own = [name for name, value in others.items() if value is not None] + list(changes)
        own += ["seeds"] if seeds != 1 else []
        if own:
            raise fb.InputError(f"--resume continues a run with its own recipe: leave out {', '.join(own)}")
        go_on = fb.resume_seeds if (resume / "seeds.json").exists() else fb.resume
        run = go_on(resume, devices=devices, device=device, accept_changes=accept_changes, quiet=quiet, log=log)
    elif accept_changes:
        raise fb.InputError("--accept-changes is for a run that goes on: give --resume RUN, too")
    else:
        run = fb.train(
            data or _DIGITS,
            model,
            out=out,
            weights=weights,
            neck=neck,
            head=head,
            recipe=recipe,
            changes=changes,
            teacher=teacher,
            seeds=seeds,
            devices=devices,
            device=device,
            quiet=quiet,
            log=log,
        )
    if isinstance(run, fb.SeedRuns):
        _show_seeds(run, json=json)
        return
    if not run.first:
        return
    if json:
        show_json(run.to_dict())
        return
    used = run.recipe
    order = "channels-last" if used.channels_last else "channels-first"
    length = f"{run.train_seconds:.1f} s, {counted(run.epochs, 'epoch')} at {used.size} pixels"
    facts = [
        ("run", run.folder),
        run.summary,
        *([run.other] if run.other else []),
        ("training", f"{length}, {used.precision} {order}"),
    ]
    if run.drawn_from is not None:
        drawn = f"{run.train_images:,} of {counted(run.drawn_from, 'image')} (fraction {used.fraction:g})"
        facts.insert(-1, ("learned from", drawn))
    facts += [("changed since it began", change) for change in run.changes]
    show_table(("", ""), facts, left=2)
    show_skipped(run.skipped)
    folder = str(run.folder)
    next_steps(
        ["evaluate", folder],
        ["predict", folder, str(run.examples[-1])],
        ["export", folder, "--to", "openvino", "--out", str(run.folder / "model.xml")],
    )


def _show_seeds(found: fb.SeedRuns, *, json: bool) -> None:
    """Show the range of what several seeds reached, and what each of them did."""
    if json:
        show_json(found.to_dict())
        return
    first, scores = found.runs[0], found.scores
    facts = [("runs", str(found.folder)), found.summary, ("page", str(found.page))]
    facts += [("changed since they began", change) for change in found.changes]
    facts += [(f"changed in seed {run.recipe.seed}", change) for run in found.runs for change in run.changes]
    show_table(("", ""), facts, left=2)
    lines: list[tuple[str, ...]] = [
        (str(run.recipe.seed), *(f"{run.scores[name]:.2%}" for name in scores), f"{run.train_seconds:.1f} s")
        for run in found.runs
    ]
    for name, values in (
        ("mean", [one.mean for one in scores.values()]),
        ("lowest", [one.low for one in scores.values()]),
        ("highest", [one.high for one in scores.values()]),
    ):
        lines.append((name, *(f"{value:.2%}" for value in values), ""))
    say("")
    show_table(("seed", *scores, "training"), lines)
    show_skipped(first.skipped)
    next_steps(["evaluate", str(first.folder)], ["predict", str(first.folder), str(first.examples[-1])])


def _minutes(text: str | None) -> float | None:
    """Return a time such as ``10min`` in minutes."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|m|h)\s*", text)
    if found is None or not float(found[1]):
        raise fb.InputError(f"--time {text} is not allowed: a number above 0 with s, min or h, such as 10min")
    return float(found[1]) * {"s": 1 / 60, "m": 1.0, "h": 60.0}[found[2][0]]


def _silent(_: str) -> None:
    """Say nothing."""
