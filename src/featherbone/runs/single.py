"""One run, from its beginning or from where it stopped, to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from featherbone.data.dataset import AnyData
from featherbone.errors import InputError, needs
from featherbone.files import AnyPath
from featherbone.runs.folder import BATCH, PAGE, RECIPE, RESULT, SEEDS, read_facts, read_recipe
from featherbone.runs.launch import await_file, check_devices, device_for, launch, resumable
from featherbone.runs.outline import tell_outline
from featherbone.runs.prepare import new_folder, open_images, prepare, usual_preprocess
from featherbone.runs.run import Run, open_run
from featherbone.runs.start import ModelRequest, beginning
from featherbone.runs.teacher import teacher_of
from featherbone.training import Recipe, processes
from featherbone.weights import Header, row_from_dict

if TYPE_CHECKING:
    from featherbone.runs.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """How a run is trained from here on: what is no part of its recipe.

    Attributes:
        teacher: a module whose answers are learned, too.
        devices: processes on this machine.
        device: where it is trained, in PyTorch's words; ``None`` for the accelerator, if there is one.
        accept_changes: go on although a file, or what computes the run, is another one than when it began.
        quiet: no progress on the error stream.
        log: told the outline of the run, line by line.
    """

    teacher: nn.Module | None = None
    devices: int = 1
    device: str | None = None
    accept_changes: bool = False
    quiet: bool = False
    log: Callable[[str], None] = lambda _: None


def begin_run(
    data: AnyPath,
    out: AnyPath | None,
    request: ModelRequest,
    recipe: Recipe | None,
    changes: Mapping[str, Any],
    sitting: Sitting,
    *,
    like: Path | None = None,
) -> Run:
    """Begin a run, or go on with it where several processes were started, and train it to its end.

    Args:
        data: the data set.
        out: the run's folder; ``None`` for one that is named after data and network.
        request: the network that was asked for.
        recipe: how to train; ``None`` for what suits the data.
        changes: columns of the recipe to change.
        sitting: how it is trained.
        like: a run that has read the same images, so that none is decoded beforehand.

    Raises:
        InputError: if an argument is not usable.
        InterruptedRunError: on Ctrl-C.
    """
    teacher, devices, quiet, log = sitting.teacher, sitting.devices, sitting.quiet, sitting.log
    team = processes()
    with needs("train", "training"):
        from featherbone.runs.tasks import task_for
        from featherbone.runs.writer import writing
    task = task_for(data)
    where = device_for(sitting.device, max(devices, team.world))
    if team.world > 1:
        if out is None:
            raise InputError(f"out=... is needed: {team.world} processes share the run's folder")
        folder = Path(out)
        with ExitStack() as stack:
            if team.first and not (folder / RECIPE).exists():
                stack.enter_context(new_folder(out, data, request, task))
                prepare(folder, data, task, request, recipe, changes, device=where, quiet=quiet, log=log, like=like)
            elif team.first:
                stack.enter_context(writing(folder))
            await_file(folder / RECIPE)
            return _resumed(folder, teacher, device=where, accept_changes=False, quiet=quiet)
    check_devices(devices)
    if devices > 1 and teacher is not None:
        raise InputError(f"devices={devices} is not allowed with a teacher that is a module: give it as a file, or 1")
    with new_folder(out, data, request, task) as folder:
        images = prepare(folder, data, task, request, recipe, changes, device=where, quiet=quiet, log=log, like=like)
        if devices == 1:
            with resumable(folder):
                return _trained(folder, task, read_recipe(folder), images, teacher, device=where, quiet=quiet)
    return launch(folder, devices, accept_changes=False, quiet=quiet)


def resume_run(folder: Path, sitting: Sitting) -> Run:
    """Go on with a run from its last checkpoint; of a finished one whose page is missing, write the page.

    Raises:
        InputError: if the folder holds no unfinished run, what it reads or what computes it has changed, or another
            process writes to it.
        InterruptedRunError: on Ctrl-C.
    """
    teacher, devices, accept_changes = sitting.teacher, sitting.devices, sitting.accept_changes
    quiet, log = sitting.quiet, sitting.log
    team = processes()
    where = device_for(sitting.device, max(devices, team.world))
    if not (folder / RECIPE).exists():
        several = f"a run for each of several seeds: resume_seeds, or --resume {folder}, goes on with them"
        none = f"no run to resume (it has no {RECIPE})"
        raise InputError(f"{folder} holds {several if (folder / SEEDS).exists() else none}")
    if (folder / RESULT).exists() and (folder / PAGE).exists():
        raise InputError(f"the run in {folder} is finished; to train longer, start another one with more epochs")
    with needs("train", "training"):
        from featherbone.runs.writer import writing
    with ExitStack() as stack:
        if team.first:
            stack.enter_context(writing(folder))
        if team.world == 1 and not (folder / RESULT).exists():
            check_devices(devices)
        if devices == 1 or (folder / RESULT).exists():
            with resumable(folder):
                return _resumed(folder, teacher, device=where, accept_changes=accept_changes, quiet=quiet, log=log)
    return launch(folder, devices, accept_changes=accept_changes, quiet=quiet)


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
