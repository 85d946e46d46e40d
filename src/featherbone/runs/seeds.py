"""The same recipe with several seeds: a folder with a run for each of them.

```text
OUT/seeds.json              which seeds, and the network that was asked for
    seed_0/, seed_1/ ...    the runs
    writer.json             who trains them, or did so last; .lock beside it is held
    scores.json             what they reached: mean, lowest and highest  (when all are finished)
    seeds.html              the same as a page that leads to theirs      (when all are finished)
```

What is held out of a folder that nobody has split is the same for all of them: else their range would be that of the
split as well.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from featherbone.detect.detector import HeadKind
from featherbone.detect.necks import NeckSpec
from featherbone.errors import InputError, InterruptedRunError, needs, some
from featherbone.files import AnyPath, check_outside, digest, read_json, typed, write_json
from featherbone.models import spec_from_row
from featherbone.runs.folder import PAGE, RECIPE, RESULT, SEEDS, read_facts, read_recipe
from featherbone.runs.launch import device_for
from featherbone.runs.prepare import made_folders, open_images, usual_folders
from featherbone.runs.run import Run, open_run
from featherbone.runs.seed_runs import SCORES, SEEDS_PAGE, SeedRuns
from featherbone.runs.single import Sitting, begin_run, resume_run
from featherbone.runs.start import ModelRequest
from featherbone.spec import spec_to_dict
from featherbone.training import Recipe, processes
from featherbone.weights import FILE_NAME, Header, row_from_dict


@dataclass(frozen=True)
class _Plan:
    """What ``seeds.json`` holds: with the recipe of the first run, all that the later ones need.

    Attributes:
        seeds: in the order in which they are trained.
        model: a name or a row, as it was asked for.
        weights: a path.
        neck: a name or a row.
        head: of a detector.
        digest: of the weights.
        changes: what was otherwise when they went on, and was accepted.
    """

    seeds: tuple[int, ...]
    model: str | dict[str, Any] | None = None
    weights: str | None = None
    neck: str | dict[str, Any] | None = None
    head: HeadKind | None = None
    digest: str = ""
    changes: tuple[str, ...] = ()

    @classmethod
    def of(cls, seeds: range, request: ModelRequest) -> _Plan:
        model, weights, neck = request.model, request.weights, request.neck
        return cls(
            tuple(seeds),
            model if isinstance(model, str | None) else spec_to_dict(model),
            None if weights is None else os.path.abspath(weights),  # noqa: PTH100 - never fails
            neck if isinstance(neck, str | None) else neck.to_dict(),
            request.head,
            "" if weights is None else _digest(weights),
        )

    @property
    def request(self) -> ModelRequest:
        model = spec_from_row(self.model) if isinstance(self.model, dict) else self.model
        neck = NeckSpec.from_dict(self.neck) if isinstance(self.neck, dict) else self.neck
        return ModelRequest(model, self.weights, neck, self.head)

    def place(self, folder: Path) -> Path:
        """Return the folder of the first run."""
        return folder / f"seed_{self.seeds[0]}"

    def begun(self, folder: Path) -> bool:
        """Return whether the first run, whose recipe the others have, has begun."""
        return (self.place(folder) / RECIPE).exists()


def begin_seeds(
    seeds: int,
    data: AnyPath,
    out: AnyPath | None,
    request: ModelRequest,
    recipe: Recipe | None,
    changes: Mapping[str, Any],
    sitting: Sitting,
) -> SeedRuns:
    """Train a recipe with several seeds, one after another.

    Args:
        seeds: how many; the first one is the recipe's.
        data: the data set.
        out: the folder for the runs; ``None`` for one that is named after data and network.
        request: the network that was asked for.
        recipe: how to train; ``None`` for what suits the data.
        changes: columns of the recipe to change.
        sitting: how all of them are trained.

    Raises:
        InputError: if an argument is not usable.
        InterruptedRunError: on Ctrl-C; ``resume_seeds`` goes on.
    """
    _check_alone()
    early = (recipe or Recipe()).changed(changes)
    split = early.seed if early.split_seed is None else early.split_seed
    early.changed({"seed": early.seed + seeds - 1})  # refuses one that is too large before the first is trained
    request.check()
    plan = _Plan.of(range(early.seed, early.seed + seeds), request)

    def first(place: Path) -> Run:
        return begin_run(data, place, request, recipe, {**changes, "seed": early.seed, "split_seed": split}, sitting)

    with _new_folder(out, data, request, plan) as folder:
        write_json(folder / SEEDS, asdict(plan))
        return _trained(folder, plan, first, sitting)


def go_on(folder: Path, sitting: Sitting) -> SeedRuns:
    """Train the seeds in a folder that are not finished.

    Raises:
        InputError: if there are none, or one cannot go on.
        InterruptedRunError: on Ctrl-C.
    """
    if not (folder / SEEDS).exists():
        raise InputError(f"{folder} holds no runs of several seeds (it has no {SEEDS})")
    _check_alone()
    plan = typed(read_json(folder / SEEDS), _Plan, folder / SEEDS)
    if not plan.begun(folder):
        raise InputError(f"in {folder} no run has begun: train once more, with out={folder}")
    if (folder / SCORES).exists() and (folder / SEEDS_PAGE).exists():
        raise InputError(f"the runs in {folder} are finished; to train longer, start others with more epochs")
    with needs("train", "training"):
        from featherbone.runs.writer import writing

    def begun(place: Path) -> Run:
        raise InputError(f"{place}, the first run, is gone: train once more, in another folder")

    with writing(folder):
        return _trained(folder, plan, begun, sitting)


def _trained(folder: Path, plan: _Plan, first: Callable[[Path], Run], sitting: Sitting) -> SeedRuns:
    """Train what is not finished, then write scores and page."""
    with needs("train", "training"):
        from featherbone.runs.page_seeds import write_seeds_page
    runs = []
    with _interrupted(folder, plan):
        for number, seed in enumerate(plan.seeds, 1):
            place = folder / f"seed_{seed}"
            if (place / RESULT).exists() and (place / PAGE).exists():
                runs.append(open_run(place))
                continue
            sitting.log(f"seed     {seed}, run {number} of {len(plan.seeds)}")
            if (place / RECIPE).exists():
                runs.append(resume_run(place, sitting))
            elif number == 1:
                runs.append(first(place))
            else:
                plan = _checked(folder, plan, sitting)
                runs.append(_later(folder, plan, seed, sitting))
        found = SeedRuns(folder, tuple(runs), plan.changes)
        write_json(folder / SCORES, {**found.to_dict(), "folder": ".", "runs": [run.folder.name for run in runs]})
        write_seeds_page(found)
    return found


def _later(folder: Path, plan: _Plan, seed: int, sitting: Sitting) -> Run:
    """Train the recipe of the first run, as it was resolved there, with another seed."""
    start = plan.place(folder)
    recipe = read_recipe(start)
    quieter = replace(sitting, log=lambda _: None)  # all but the seed has been said
    with _threads(start, sitting):
        return begin_run(
            recipe.data, folder / f"seed_{seed}", plan.request, recipe, {"seed": seed}, quieter, like=start
        )


def _checked(folder: Path, plan: _Plan, sitting: Sitting) -> _Plan:
    """Return the plan, once it is known that another run may begin: a range would be that of other changes, too.

    Raises:
        InputError: if images, weights, teacher or what computes the runs are not those of the first one, and that was
            not accepted.
    """
    from featherbone.runs.changes import changes_since
    from featherbone.runs.identity import changed_files
    from featherbone.runs.tasks import task_of

    start = plan.place(folder)
    recipe, facts = read_recipe(start), read_facts(start)
    task = task_of(Header(row_from_dict(recipe.model), task=facts.task))
    quiet = sitting.quiet
    with _threads(start, sitting):
        images = open_images(task, recipe.data, recipe, run=start, quiet=quiet)
        if sitting.devices == 1:
            where = device_for(sitting.device, 1)
            changes = changes_since(start, images, recipe, facts.fingerprint, where, quiet=quiet)
        else:  # threads and device are those of processes that are not there yet
            changes = changed_files(start, images, recipe, quiet=quiet)
    if images.fingerprint != facts.fingerprint:
        raise InputError(f"the images in {recipe.data} are not those that the runs in {folder} began with")
    if plan.weights is not None and plan.digest != _digest(plan.weights):
        changes = [*changes, f"the weights in {plan.weights} have changed"]
    new = tuple(change for change in changes if change not in plan.changes)
    if new and not sitting.accept_changes:
        raise InputError(
            f"the runs in {folder} would not go on as they began: {'; '.join(new)}; put that right, or go on all the "
            "same with --accept-changes (accept_changes=True), and the result will name it"
        )
    if new:
        plan = replace(plan, changes=(*plan.changes, *new))
        write_json(folder / SEEDS, asdict(plan))
    return plan


@contextmanager
def _threads(start: Path, sitting: Sitting) -> Iterator[None]:
    """Compute with as many threads as the first run, if this process computes."""
    from featherbone.runs.identity import threads_of

    with threads_of(start) if sitting.devices == 1 else nullcontext():
        yield


@contextmanager
def _interrupted(folder: Path, plan: _Plan) -> Iterator[None]:
    """Say of a request to stop within the block that all of the runs can go on, once the first has begun.

    Raises:
        InterruptedRunError: on such a request.
    """
    try:
        yield
    except InterruptedRunError as stop:
        raise InterruptedRunError(folder, stop.signal) from None
    except KeyboardInterrupt as stop:
        if not plan.begun(folder):
            raise
        raise InterruptedRunError(folder, stop.args[0] if stop.args else signal.SIGINT) from None


@contextmanager
def _new_folder(out: AnyPath | None, data: AnyPath, request: ModelRequest, plan: _Plan) -> Iterator[Path]:
    """Be the one writer of a folder for new runs; if none begins, it is gone afterwards.

    Raises:
        InputError: if it is a file, lies inside the data, or holds what would be replaced.
    """
    with needs("train", "training"):
        from featherbone.runs.tasks import task_for
        from featherbone.runs.writer import forget, writing
    folders = usual_folders(data, request, task_for(data)) if out is None else iter([Path(out)])
    for folder in folders:
        _check_free(folder, plan)
        check_outside("out", folder, data)
        made = made_folders(folder)
        if folder in made or out is not None:  # or another process was quicker with this name
            break
    try:
        with writing(folder, lambda: _check_free(folder, plan)):
            try:
                yield folder
            finally:
                if not plan.begun(folder):
                    (folder / SEEDS).unlink(missing_ok=True)
                    forget(folder)
    finally:
        for place in made:
            with suppress(OSError):  # it holds runs
                place.rmdir()


def _check_free(folder: Path, plan: _Plan) -> None:
    """Refuse a folder in which something would be replaced.

    Raises:
        InputError: if it is one.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"out={folder} is a file: choose a folder")
    if (folder / RECIPE).exists():
        raise InputError(f"out={folder} holds a run already: choose another folder")
    left = [path.name for path in folder.glob("seed_*")]
    if (folder / SEEDS).exists() and not plan.begun(folder):  # one that was killed before its first run began
        left = [name for name in left if name != plan.place(folder).name]
    if taken := sorted(left) + [name for name in (SCORES, SEEDS_PAGE) if os.path.lexists(folder / name)]:
        raise InputError(
            f"out={folder} holds {some(taken)} already: go on with its runs (--resume {folder}), or choose another "
            "folder"
        )


def _check_alone() -> None:
    """Refuse to be one of several processes that somebody has started.

    Raises:
        InputError: if it is.
    """
    if (world := processes().world) > 1:
        raise InputError(
            f"several seeds are not allowed with {world} processes of a launcher: devices=... lets processes of this "
            "machine share every batch, or start one run for each seed"
        )


def _digest(weights: AnyPath) -> str:
    path = Path(weights)
    return digest(path / FILE_NAME if path.is_dir() else path)
