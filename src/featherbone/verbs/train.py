"""Train a network on a person's images, and go on where a run was interrupted."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
import warnings
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
from featherbone.errors import InputError, InterruptedRunError, check_type, masked, needs
from featherbone.files import AnyPath, read_json, write_json
from featherbone.runs.folder import DATA, FILES, PAGE, RECIPE, RESULT, read_recipe
from featherbone.runs.prepare import new_folder, open_images, prepare, usual_preprocess
from featherbone.runs.run import Run, open_run
from featherbone.runs.start import ModelRequest, beginning
from featherbone.runs.teacher import GIVEN_TEACHER, teacher_of
from featherbone.spec import Spec
from featherbone.training import Recipe, processes, recipe_named
from featherbone.weights import FILE_NAME, Header, row_from_dict, save

if TYPE_CHECKING:
    from featherbone.runs.tasks import Task

_PATIENCE = 3600.0  # seconds that processes wait for the first one to read the data


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
        quiet: no progress on the error stream.
        log: told what begins, and the recipe in full.

    Started by ``torchrun`` or ``srun``, every process calls this with the same arguments and ``out`` on a shared disk;
    if that holds the run already, it goes on.

    Raises:
        InputError: if an argument is not usable.
        InterruptedRunError: on Ctrl-C; ``resume`` continues.
    """
    team = processes()
    check_type("data", data, (str, os.PathLike), "the name, path or address of a data set")
    remember(os.fspath(data))
    if team.first:
        log(f"preparing to train {model or weights or 'a network'} on {masked(os.fspath(data))} ...")
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
    if team.world > 1:
        if out is None:
            raise InputError(f"out=... is needed: {team.world} processes share the run's folder")
        folder = Path(out)
        with ExitStack() as stack:
            if team.first and not (folder / RECIPE).exists():
                stack.enter_context(new_folder(out, data, request, task))
                prepare(folder, data, task, request, row, wanted, quiet=quiet, log=log)
            elif team.first:
                stack.enter_context(writing(folder))
            _await(folder / RECIPE)
            return _resumed(folder, module, accept_changes=False, quiet=quiet)
    _check_devices(devices)
    if devices > 1 and module is not None:
        raise InputError(f"devices={devices} is not allowed with a teacher that is a module: give it as a file, or 1")
    with new_folder(out, data, request, task) as folder:
        images = prepare(folder, data, task, request, row, wanted, quiet=quiet, log=log)
        if devices == 1:
            return _trained(folder, task, read_recipe(folder), images, module, quiet=quiet)
    return _launched(folder, devices, accept_changes=False, quiet=quiet)


def resume(
    folder: AnyPath,
    *,
    teacher: nn.Module | None = None,
    devices: int = 1,
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
        accept_changes: go on although a file that the run reads, or what computes it, is another one than when it
            began; the result names what.
        quiet: no progress on the error stream.
        log: told what begins.

    Raises:
        InputError: if the folder holds no unfinished run, what it reads or what computes it has changed, or another
            process writes to it.
        InterruptedRunError: on Ctrl-C.
    """
    check_type("folder", folder, (str, os.PathLike), "the folder of a run")
    place, team = Path(folder), processes()
    if team.first:
        log(f"preparing to resume {place} ...")
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
            _check_devices(devices)
        if devices == 1 or (place / RESULT).exists():
            return _resumed(place, teacher, accept_changes=accept_changes, quiet=quiet)
    return _launched(place, devices, accept_changes=accept_changes, quiet=quiet)


def _resumed(folder: Path, teacher: nn.Module | None, *, accept_changes: bool, quiet: bool) -> Run:
    with needs("train", "training"):
        from featherbone.runs.identity import threads_of
        from featherbone.runs.page import write_page
        from featherbone.runs.tasks import task_of
    team = processes()
    if (folder / RESULT).exists():  # it was killed while it wrote its page, or is one of several that are started again
        if team.first and not (folder / PAGE).exists():
            write_page(folder, folder / PAGE, None, quiet=quiet)
        return open_run(folder)
    recipe, facts = read_recipe(folder), read_json(folder / DATA)
    task = task_of(Header(row_from_dict(recipe.model), task=facts.get("task", "")))
    with threads_of(folder):
        images = open_images(task, recipe.data, recipe, run=folder, quiet=quiet or not team.first)
        if team.first:
            _compare(folder, images, recipe, facts["fingerprint"], accept_changes=accept_changes, quiet=quiet)
        return _trained(folder, task, recipe, images, teacher, quiet=quiet)


def _compare(
    folder: Path, images: AnyData, recipe: Recipe, fingerprint: str, *, accept_changes: bool, quiet: bool
) -> None:
    """Compare what a run reads, and what computes it, with what was recorded when it began; record what is accepted.

    Raises:
        InputError: if something differs, and is not or cannot be accepted.
    """
    from featherbone.runs.identity import (
        changed_environment,
        changed_files,
        read_environment,
        write_environment,
        write_files,
    )

    files = changed_files(folder, images, recipe, quiet=quiet)
    if images.fingerprint != fingerprint:
        raise InputError(
            f"the images in {recipe.data} are not those that the run in {folder} began with: "
            f"{'; '.join(files) or 'their order, labels or classes are others'}"
        )
    known = read_environment(folder)
    changes = [*files, *changed_environment(folder, processes().world)]
    if changes and not accept_changes:
        raise InputError(
            f"the run in {folder} would not go on as it began: {'; '.join(changes)}; put that right, or go on all the "
            "same with --accept-changes (accept_changes=True), and the result will name it"
        )
    if not (folder / FILES).exists():
        warnings.warn(
            f"the run in {folder} did not record the content of its files, nor its versions and threads, as it is an "
            "older version's: whether they are the same could not be checked",
            stacklevel=3,
        )
    if changes or not (folder / FILES).exists():
        write_files(folder, images, recipe, quiet=quiet)
    if changes or known is None:
        write_environment(folder, (*(known.changes if known else ()), *changes))


def _trained(
    folder: Path, task: Task, recipe: Recipe, images: AnyData, teacher: nn.Module | None, *, quiet: bool
) -> Run:
    with needs("train", "training"):
        from featherbone.runs.identity import read_environment, write_environment
        from featherbone.runs.page import write_page
        from featherbone.training.loop import fit
    team = processes()
    if team.first and read_environment(folder) is None:
        write_environment(folder)
    fingerprint = images.fingerprint
    model, given = beginning(folder, recipe)
    preprocess = task.preprocess(given) if given else usual_preprocess(task, recipe, images.channels)
    images = replace(images, channels=preprocess.channels)
    taught = teacher_of(recipe, teacher, images.classes, preprocess)
    job = task.job(model, images, preprocess, recipe, team, taught)
    outcome = fit(model, job, recipe, folder, fingerprint=fingerprint, quiet=quiet)
    if team.first:
        save(model, folder / FILE_NAME, classes=images.classes, preprocess=preprocess, task=task.name)
        machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
        length = {"train_seconds": outcome.train_seconds, "epochs": outcome.epochs}
        known = read_environment(folder)
        changes = {"changes": known.changes} if known and known.changes else {}
        write_json(folder / RESULT, {**outcome.scores, **length, **machine, **changes})
        try:
            write_page(folder, folder / PAGE, images.val, quiet=quiet)
        except KeyboardInterrupt:
            raise InterruptedRunError(folder) from None  # to resume it writes the page
    _await(folder / RESULT)
    return open_run(folder)


def _check_devices(devices: int) -> None:
    """Refuse more processes than this machine has use for.

    Raises:
        InputError: if there are fewer accelerators, of which each process takes one; any number may share processors.
    """
    here = torch.accelerator.device_count() if torch.accelerator.is_available() else None
    if devices < 1 or (here is not None and devices > here):
        allowed = "1 or more" if here is None else f"1 to {here}, one for each accelerator of this machine"
        raise InputError(f"devices={devices} is not allowed: {allowed}")


def _await(file: Path) -> None:
    """Wait for a file that the first process writes.

    Raises:
        InputError: if it does not come.
    """
    deadline = time.monotonic() + _PATIENCE
    while not file.exists():
        if time.monotonic() > deadline:
            raise InputError(f"{file} has not been written by the first process in {_PATIENCE / 60:.0f} minutes")
        time.sleep(0.2)


def _launched(folder: Path, devices: int, *, accept_changes: bool, quiet: bool) -> Run:
    """Train with several processes, by PyTorch's own launcher, which starts them again when one dies."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={devices}", "--max-restarts=3"]
    options = [*(["--accept-changes"] if accept_changes else []), *(["--quiet"] if quiet else [])]
    program = ["-m", "featherbone", "train", "--resume", os.fspath(folder), *options]
    cores = os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // devices)), **os.environ}
    call = [sys.executable, "-m", *launcher, *program]
    with subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL) as running:  # noqa: S603 - our own program
        try:
            code = running.wait()
        except KeyboardInterrupt:
            running.wait()  # the terminal has told them, too
            raise InterruptedRunError(folder) from None
    if code or not (folder / RESULT).exists():
        raise InputError(
            f"{devices} processes did not finish the run (exit code {code}); the reason stands above; "
            f"to go on: featherbone train --resume {folder} --devices {devices}"
        )
    return open_run(folder)
