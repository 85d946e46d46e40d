"""Run a recipe to its end with PyTorch Lightning, from the start or from where it stopped."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from featherbone.data.image import without_pillows_warnings
from featherbone.errors import InputError, InterruptedRunError, first_line
from featherbone.training.allocation import keep_freed_memory
from featherbone.training.best import Best
from featherbone.training.callbacks import Begun, History, Patience, ProgressBar, Stopping
from featherbone.training.checkpoints import AtomicIO, Checkpoints, Owner, candidates
from featherbone.training.deadline import Deadline
from featherbone.training.distributed import Processes, follow_the_launcher, processes
from featherbone.training.interrupt import StopRequest, stopping
from featherbone.training.learner import Job, Learner
from featherbone.training.recipe import Recipe


@dataclass(frozen=True)
class Epoch:
    """What an epoch reached on the held-out images.

    Attributes:
        number: counted from 1.
        scores: shares, 0 to 1: "top1" and "top5", or of a detector "ap", "ap50" and "ap75".
    """

    number: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """What a finished run reached, and how long it trained.

    Attributes:
        best: the epoch with the best score; with patience its weights are the answer.
        last: the last epoch; without patience its weights are the answer.
        other: the weights of the one whose weights are not the answer; ``None`` if they were not kept.
        train_seconds: in training and validating, over all sittings.
        epochs: how many were trained.
    """

    best: Epoch
    last: Epoch
    other: Mapping[str, torch.Tensor] | None
    train_seconds: float
    epochs: int


# Lightning's words
_ACCELERATORS = {"cuda": "gpu"}


def fit(
    model: nn.Module,
    job: Job,
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    fingerprint: str = "",
    quiet: bool = False,
) -> Outcome:
    """Train ``model`` in place, continuing from the folder's newest checkpoint if there is one.

    Started by ``torchrun`` or ``srun``, several processes share every batch.

    Args:
        model: the network that the job's learner trains.
        job: the learner and its batches.
        recipe: all choices; precision, memory order and workers must be resolved.
        folder: where checkpoints, ``history.csv`` and TensorBoard's files go.
        device: where one process trains; several take one each.
        fingerprint: of the images, by which a checkpoint tells whose it is.
        quiet: no progress on the error stream.

    Raises:
        InterruptedRunError: on Ctrl-C or SIGTERM, once the present step is done and saved.
        InputError: if a loss or a weight is not finite, or the run cannot be saved or gone on with.
    """
    team = processes()
    follow_the_launcher()
    if device.type == "cpu":
        keep_freed_memory()
    images = len(job.learner.train_set)
    if team.world > 1 and min(recipe.batch_size, images) < 2 * team.world:
        raise InputError(
            f"batch_size={recipe.batch_size} of {images} images is too small for {team.world} processes: "
            "two images each, or more"
        )
    owner = Owner(recipe, fingerprint)
    with _quiet_lightning(), without_pillows_warnings(), stopping(folder) as request:
        for checkpoint in candidates(folder, owner):
            history, begun = History(folder / "history.csv"), Begun()
            best = Best(folder, history)
            trainer = L.Trainer(
                accelerator="auto" if team.world > 1 else _ACCELERATORS.get(device.type, device.type),
                devices=team.local if team.world > 1 or device.index is None else [device.index],
                num_nodes=team.world // team.local,
                strategy=_strategy(team, recipe),
                max_epochs=-1 if recipe.minutes else recipe.epochs,
                gradient_clip_val=recipe.clip_grad or None,
                callbacks=[
                    begun,
                    history,
                    *([Deadline(history, 60 * recipe.minutes)] if recipe.minutes else []),
                    best,
                    *_callbacks(folder, owner, request, job.learner),
                    *([] if quiet or team.rank else [ProgressBar(history)]),
                ],
                default_root_dir=folder,
                logger=TensorBoardLogger(folder, name="", version="tensorboard"),
                plugins=[AtomicIO()],
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                sync_batchnorm=team.world > 1 and torch.accelerator.is_available(),
            )
            try:
                trainer.fit(job.learner, job.train, job.val, ckpt_path=checkpoint, weights_only=True)
                break
            except (InputError, InterruptedRunError):
                raise
            except SIGTERMException:  # Lightning has looked at the signal before our callback: it would end with 0
                request.check()
                raise
            except Exception as error:
                if checkpoint is None or begun.made:
                    raise
                problem = f"it is none of this run's ({first_line(error)})"
                warnings.warn(f"{checkpoint} is passed over, and the one before is taken: {problem}", stacklevel=2)
    best.take_over(job.learner.watched)  # a run that was whole before it was resumed has not begun
    return _outcome(model, job.learner, recipe, history.rows, best)


def _outcome(
    model: nn.Module, learner: Learner, recipe: Recipe, rows: Sequence[Mapping[str, float]], best: Best
) -> Outcome:
    """Give the network the weights that are the run's answer; return what was reached.

    Raises:
        InputError: if that is not finite, or the weights are gone.
    """
    last = rows[-1]
    top = next((row for row in rows if row["epoch"] == best.epoch), last)
    answer = top if recipe.patience else last
    odd = [name for name in ("val_loss", *learner.scores.values()) if not math.isfinite(answer[name])]
    if odd:
        raise InputError(
            f"the run has diverged: {odd[0]} is {answer[odd[0]]} in epoch {answer['epoch']:.0f}, whose weights would "
            f"be kept; train once more with a lower lr (now {recipe.lr:g}), in another folder"
        )
    final, finest = _kept(learner), best.weights()
    if finest is None and recipe.patience:
        raise InputError(f"{best.path} is gone, with the weights that this run would give: train it anew")
    if finest is None:
        said = f"the weights of the best epoch ({best.epoch}) are not kept: {best.path} is not there"
        warnings.warn(said, stacklevel=3)
    model.load_state_dict(finest if recipe.patience and finest is not None else final)
    model.cpu().eval()

    def reached(row: Mapping[str, float]) -> Epoch:
        return Epoch(int(row["epoch"]), {name: round(row[column], 6) for name, column in learner.scores.items()})

    return Outcome(
        best=reached(top),
        last=reached(last),
        other=final if recipe.patience else finest,
        train_seconds=round(sum(row["seconds"] for row in rows), 2),
        epochs=len(rows),
    )


def _kept(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.result.state_dict().items()}


def _callbacks(folder: Path, owner: Owner, request: StopRequest, learner: Learner) -> list[L.Callback]:
    checkpoints, patience = Checkpoints(folder, owner), owner.recipe.patience
    early = [Patience(learner.watched, patience)] if patience else []
    return [*early, Stopping(request, checkpoints), checkpoints]


def _strategy(team: Processes, recipe: Recipe) -> str | Strategy:
    if team.world == 1:
        return "auto"
    # what is frozen for some epochs gets no gradient in them
    return DDPStrategy(find_unused_parameters=recipe.freeze_epochs > 0 or bool(recipe.freeze))


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out the notes that Lightning prints about the machine and about settings we chose on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for note in (
                ".*num_workers.*",
                ".*logging interval.*",
                ".*Checkpoint directory.*",
                ".*GPU available.*",
                ".*LeafSpec.*",
                ".*dirpath has changed.*",  # a run's folder may be moved
            ):
                warnings.filterwarnings("ignore", note)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
