"""Train a network on a person's images, and go on where a run was interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, overload

from torch import nn

from featherbone.data.address import remember
from featherbone.detect.necks import NeckSpec
from featherbone.errors import InputError, check_type
from featherbone.files import AnyPath
from featherbone.runs.run import Run
from featherbone.runs.seed_runs import SeedRuns
from featherbone.runs.seeds import begin_seeds, go_on
from featherbone.runs.single import Sitting, begin_run, resume_run
from featherbone.runs.start import ModelRequest
from featherbone.runs.teacher import GIVEN_TEACHER
from featherbone.spec import Spec
from featherbone.training import Recipe, recipe_named


@overload
def train(
    data: AnyPath = ...,
    model: str | Spec | None = ...,
    *,
    out: AnyPath | None = ...,
    weights: AnyPath | None = ...,
    neck: str | NeckSpec | None = ...,
    head: Literal["anchors", "free"] | None = ...,
    recipe: Recipe | str | None = ...,
    changes: Mapping[str, Any] | None = ...,
    teacher: AnyPath | nn.Module | None = ...,
    seeds: Literal[1] = ...,
    devices: int = ...,
    device: str | None = ...,
    quiet: bool = ...,
    log: Callable[[str], None] = ...,
) -> Run: ...


@overload
def train(
    data: AnyPath = ...,
    model: str | Spec | None = ...,
    *,
    out: AnyPath | None = ...,
    weights: AnyPath | None = ...,
    neck: str | NeckSpec | None = ...,
    head: Literal["anchors", "free"] | None = ...,
    recipe: Recipe | str | None = ...,
    changes: Mapping[str, Any] | None = ...,
    teacher: AnyPath | nn.Module | None = ...,
    seeds: int,
    devices: int = ...,
    device: str | None = ...,
    quiet: bool = ...,
    log: Callable[[str], None] = ...,
) -> Run | SeedRuns: ...


def train(
    data: AnyPath = "digits",
    model: str | Spec | None = None,
    *,
    out: AnyPath | None = None,
    weights: AnyPath | None = None,
    neck: str | NeckSpec | None = None,
    head: Literal["anchors", "free"] | None = None,
    recipe: Recipe | str | None = None,
    changes: Mapping[str, Any] | None = None,
    teacher: AnyPath | nn.Module | None = None,
    seeds: int = 1,
    devices: int = 1,
    device: str | None = None,
    quiet: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Run | SeedRuns:
    """Train a network on a data set and write the run to a folder.

    Args:
        data: ``"digits"``; a folder of class folders, or one with them in ``train/`` and ``val/``; a table of paths
            and labels; the published files of CIFAR or MNIST; shards, here or at URLs; ``"hf:NAME"`` or a saved Hugging
            Face data set; or images with boxes, as COCO, Pascal VOC or YOLO have them. docs/data.md says what each must
            look like.
        model: a name, or a row of your own; classes, channels and stem are fitted to the data. Default: that of
            ``weights``, else ``shufflenet_v2_x0_5``, for boxes ``shufflenet_v2_x1_0``.
        out: a folder that holds no run yet, and does not lie inside the data; default ``runs/DATA-MODEL-1`` and so on.
            One process at a time writes to it.
        weights: a run or weight file to start from, imported ones too; its classifier is new if the classes differ.
            Default: from scratch.
        neck: of a detector, where the data has boxes: "fpn", "pan", "gfm", "efm" ..., or a row; default "efm".
        head: of a detector: "free" of anchors, or "anchors" (YOLOv3's); default "free".
        recipe: how to train: a row or the name of one; default the one that suits the data.
        changes: columns of the recipe to change, for example ``{"epochs": 3}``.
        teacher: a run or weight file of the same classes, or any module of the same inputs and outputs, whose answers
            are learned, too.
        seeds: with how many seeds, one after another: the recipe's ``seed``, and those that follow it. Each has a whole
            run in ``out/seed_0`` and so on. What is held out of a folder that nobody has split, and precision, memory
            order and loader processes, are those of the first run for all (column ``split_seed``).
        devices: processes on this machine that share every batch, one a GPU if there are GPUs.
        device: where the network learns: "cpu", or an accelerator of this machine, such as "cuda:1"; default the
            accelerator, if there is one.
        quiet: no progress on the error stream.
        log: told the outline of the run, line by line, before the first epoch.

    Started by ``torchrun`` or ``srun``, every process calls this with the same arguments and ``out`` on a shared disk;
    if that holds the run already, it goes on.

    Returns:
        The run; with two seeds or more, all of their runs, with mean and range of every score.

    Raises:
        InputError: if an argument is not usable.
        InterruptedRunError: on Ctrl-C; ``resume`` continues, with two seeds or more ``resume_seeds``.
    """
    check_type("data", data, (str, os.PathLike), "the name, path or address of a data set")
    remember(os.fspath(data))
    paths = (str, os.PathLike, NoneType)
    check_type("recipe", recipe, (str, Recipe, NoneType), "the name of a recipe, or its row")
    check_type("changes", changes, (Mapping, NoneType), "columns and their values, such as {'epochs': 3}")
    check_type("teacher", teacher, (*paths, nn.Module), "a run, its folder, a weight file or a module")
    check_type("out", out, paths, "the path of a folder")
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise InputError(f"seeds={seeds!r:.80} is not allowed: how many, a whole number, 1 or more")
    row = recipe_named(recipe) if isinstance(recipe, str) else recipe
    wanted = dict(changes or {})
    if teacher is not None:
        wanted["teacher"] = GIVEN_TEACHER if isinstance(teacher, nn.Module) else os.fspath(teacher)
    request = ModelRequest(model, weights, neck, head)
    module = teacher if isinstance(teacher, nn.Module) else None
    sitting = Sitting(teacher=module, devices=devices, device=device, quiet=quiet, log=log)
    if seeds == 1:
        return begin_run(data, out, request, row, wanted, sitting)
    return begin_seeds(seeds, data, out, request, row, wanted, sitting)


def resume(
    folder: AnyPath,
    *,
    teacher: nn.Module | None = None,
    devices: int = 1,
    device: str | None = None,
    accept_changes: bool = False,
    quiet: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Run:
    """Continue a run that was interrupted, from its last checkpoint; the result is that of the undisturbed run.

    It computes with as many threads as the run began with. Of a finished run whose page is missing, it writes the page.

    Args:
        folder: of the run.
        teacher: the module that ``train`` was given, if it was given one.
        devices: processes on this machine.
        device: where the network learns: "cpu", or an accelerator of this machine, such as "cuda:1"; default the
            accelerator, if there is one.
        accept_changes: go on although a file that the run reads, or what computes it, is another one than when it
            began; the result names what.
        quiet: no progress on the error stream.
        log: told the outline of the run, line by line.

    Raises:
        InputError: if the folder holds no unfinished run, what it reads or what computes it has changed, or another
            process writes to it.
        InterruptedRunError: on Ctrl-C.
    """
    check_type("folder", folder, (str, os.PathLike), "the folder of a run")
    return resume_run(
        Path(folder),
        Sitting(teacher=teacher, devices=devices, device=device, accept_changes=accept_changes, quiet=quiet, log=log),
    )


def resume_seeds(
    folder: AnyPath,
    *,
    teacher: nn.Module | None = None,
    devices: int = 1,
    device: str | None = None,
    accept_changes: bool = False,
    quiet: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> SeedRuns:
    """Continue the runs of several seeds: the one that was interrupted, then those that have not begun.

    Finished runs stay as they are. One that begins now has the recipe of the first, and needs the images, weights and
    versions that the first began with.

    Args:
        folder: the ``out`` of ``train(..., seeds=...)``.
        teacher: as for ``resume``, like all that follow.
        devices: processes on this machine.
        device: where the networks learn.
        accept_changes: go on although something has changed; the result names what.
        quiet: no progress on the error stream.
        log: told which seed is trained, and the outline of a run that goes on, line by line.

    Raises:
        InputError: if the folder holds no such runs, all of them are finished, something has changed, or another
            process writes to them.
        InterruptedRunError: on Ctrl-C.
    """
    check_type("folder", folder, (str, os.PathLike), "the folder of the runs of several seeds")
    return go_on(
        Path(folder),
        Sitting(teacher=teacher, devices=devices, device=device, accept_changes=accept_changes, quiet=quiet, log=log),
    )
