"""Train a network on a person's images, and go on where a run was interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from featherbone.data.address import remember
from featherbone.data.dataset import AnyData
from featherbone.detect.necks import NeckSpec
from featherbone.errors import InputError, check_type, needs
from featherbone.files import AnyPath
from featherbone.runs.folder import BATCH, PAGE, RECIPE, RESULT, read_facts, read_recipe
from featherbone.runs.launch import await_file, check_devices, device_for, launch, resumable
from featherbone.runs.outline import tell_outline
from featherbone.runs.prepare import new_folder, open_images, prepare, usual_preprocess
from featherbone.runs.run import Run, open_run
from featherbone.runs.start import ModelRequest, beginning
from featherbone.runs.teacher import GIVEN_TEACHER, teacher_of
from featherbone.spec import Spec
from featherbone.training import Recipe, processes, recipe_named
from featherbone.weights import Header, row_from_dict

if TYPE_CHECKING:
    from featherbone.runs.tasks import Task


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
    devices: int = 1,
    device: str | None = None,
    quiet: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Run:
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
        devices: processes on this machine that share every batch, one a GPU if there are GPUs.
        device: where the network learns: "cpu", or an accelerator of this machine, such as "cuda:1"; default the
            accelerator, if there is one.
        quiet: no progress on the error stream.
        log: told the outline of the run, line by line, before the first epoch.

    Started by ``torchrun`` or ``srun``, every process calls this with the same arguments and ``out`` on a shared disk;
    if that holds the run already, it goes on.

    Raises:
        InputError: if an argument is not usable.
        InterruptedRunError: on Ctrl-C; ``resume`` continues.
    """
    team = processes()
    check_type("data", data, (str, os.PathLike), "the name, path or address of a data set")
    remember(os.fspath(data))
    paths = (str, os.PathLike, NoneType)
    check_type("recipe", recipe, (str, Recipe, NoneType), "the name of a recipe, or its row")
    check_type("changes", changes, (Mapping, NoneType), "columns and their values, such as {'epochs': 3}")
    check_type("teacher", teacher, (*paths, nn.Module), "a run, its folder, a weight file or a module")
    check_type("out", out, paths, "the path of a folder")
    row = recipe_named(recipe) if isinstance(recipe, str) else recipe
    wanted = dict(changes or {})
    if teacher is not None:
        wanted["teacher"] = GIVEN_TEACHER if isinstance(teacher, nn.Module) else os.fspath(teacher)
    request = ModelRequest(model, weights, neck, head)
    with needs("train", "training"):
        from featherbone.runs.tasks import task_for
        from featherbone.runs.writer import writing
    task = task_for(data)
    module = teacher if isinstance(teacher, nn.Module) else None
    where = device_for(device, max(devices, team.world))
    if team.world > 1:
        if out is None:
            raise InputError(f"out=... is needed: {team.world} processes share the run's folder")
        folder = Path(out)
        with ExitStack() as stack:
            if team.first and not (folder / RECIPE).exists():
                stack.enter_context(new_folder(out, data, request, task))
                prepare(folder, data, task, request, row, wanted, device=where, quiet=quiet, log=log)
            elif team.first:
                stack.enter_context(writing(folder))
            await_file(folder / RECIPE)
            return _resumed(folder, module, device=where, accept_changes=False, quiet=quiet)
    check_devices(devices)
    if devices > 1 and module is not None:
        raise InputError(f"devices={devices} is not allowed with a teacher that is a module: give it as a file, or 1")
    with new_folder(out, data, request, task) as folder:
        images = prepare(folder, data, task, request, row, wanted, device=where, quiet=quiet, log=log)
        if devices == 1:
            with resumable(folder):
                return _trained(folder, task, read_recipe(folder), images, module, device=where, quiet=quiet)
    return launch(folder, devices, accept_changes=False, quiet=quiet)


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
    place, team = Path(folder), processes()
    where = device_for(device, max(devices, team.world))
    if not (place / RECIPE).exists():
        raise InputError(f"{place} holds no run to resume (it has no {RECIPE})")
    if (place / RESULT).exists() and (place / PAGE).exists():
        raise InputError(f"the run in {place} is finished; to train longer, start another one with more epochs")
    with needs("train", "training"):
        from featherbone.runs.writer import writing
    with ExitStack() as stack:
        if team.first:
            stack.enter_context(writing(place))
        if team.world == 1 and not (place / RESULT).exists():
            check_devices(devices)
        if devices == 1 or (place / RESULT).exists():
            with resumable(place):
                return _resumed(place, teacher, device=where, accept_changes=accept_changes, quiet=quiet, log=log)
    return launch(place, devices, accept_changes=accept_changes, quiet=quiet)


def _resumed(
    folder: Path,
    teacher: nn.Module | None,
    *,
    device: torch.device,
    accept_changes: bool,
    quiet: bool,
    log: Callable[[str], None] = lambda _: None,
) -> Run:
    with needs("train", "training"):
        from featherbone.runs.changes import changes_since, record_changes
        from featherbone.runs.identity import threads_of
        from featherbone.runs.page import write_page
        from featherbone.runs.tasks import task_of
    team = processes()
    if (folder / RESULT).exists():  # it was killed while it wrote its page, or is one of several that are started again
        if team.first and not (folder / PAGE).exists():
            write_page(folder, folder / PAGE, None, quiet=quiet)
        return open_run(folder)
    recipe, facts = read_recipe(folder), read_facts(folder)
    task = task_of(Header(row_from_dict(recipe.model), task=facts.task))
    with threads_of(folder):
        images = open_images(task, recipe.data, recipe, run=folder, quiet=quiet or not team.first)
        if team.first:
            changes = changes_since(folder, images, recipe, facts.fingerprint, device, quiet=quiet)
            record_changes(folder, images, recipe, device, changes, accepted=accept_changes, quiet=quiet)
            tell_outline(log, folder, images, task, beginning(folder, recipe)[0], recipe, weights="")
        return _trained(folder, task, recipe, images, teacher, device=device, quiet=quiet)


def _trained(
    folder: Path,
    task: Task,
    recipe: Recipe,
    images: AnyData,
    teacher: nn.Module | None,
    *,
    device: torch.device,
    quiet: bool,
) -> Run:
    with needs("train", "training"):
        from featherbone.runs.changes import changes_of_all_sittings
        from featherbone.runs.identity import read_environment, write_environment
        from featherbone.runs.page import write_page
        from featherbone.runs.page_batch import draw_batch
        from featherbone.runs.result import write_result, write_weights
        from featherbone.training.loop import fit
    team = processes()
    if team.first and read_environment(folder) is None:
        write_environment(folder, device)
    fingerprint = images.fingerprint
    model, given = beginning(folder, recipe)
    preprocess = task.preprocess(given) if given else usual_preprocess(task, recipe, images.channels)
    images = replace(images, channels=preprocess.channels)
    taught = teacher_of(recipe, teacher, images.classes, preprocess)
    job = task.job(model, images, preprocess, recipe, team, taught)
    if team.first and not (folder / BATCH).exists():
        draw_batch(folder, job, preprocess, images.classes)
    outcome = fit(model, job, recipe, folder, fingerprint=fingerprint, device=device, quiet=quiet)
    if team.first:
        stops = recipe.patience > 0
        header = Header(row_from_dict(recipe.model), images.classes, preprocess, task.name)
        write_weights(folder, model, outcome, header, patience=stops)
        changes = changes_of_all_sittings(folder, images, recipe, quiet=quiet)
        write_result(folder, outcome, patience=stops, changes=changes)
        write_page(folder, folder / PAGE, images.val, quiet=quiet)
    await_file(folder / RESULT)
    return open_run(folder)
