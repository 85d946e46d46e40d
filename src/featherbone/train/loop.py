"""Run a recipe to its end, or from where it stopped to its end, with PyTorch Lightning."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from featherbone.data import Preprocess
from featherbone.data.images import without_pillows_warnings
from featherbone.data.loading import evaluation_transform, loader, training_transform
from featherbone.data.sets import ImageData
from featherbone.errors import InterruptedRunError
from featherbone.train.callbacks import History, ProgressBar
from featherbone.train.classify import Classify
from featherbone.train.compute import CANDIDATES, fastest
from featherbone.train.recipe import Recipe

CHECKPOINT = Path("checkpoints") / "last.ckpt"


@dataclass(frozen=True)
class Outcome:
    """What a finished run reached on the held-out images, and how long it trained."""

    top1: float
    top5: float
    train_seconds: float
    epochs: int


def settle_compute(recipe: Recipe, model: nn.Module, channels: int, train_images: int) -> Recipe:
    """Return the recipe with ``precision`` and ``channels_last`` decided: as given, or the fastest here."""
    allowed = [
        (precision, channels_last)
        for precision, channels_last in CANDIDATES
        if recipe.precision in ("auto", precision) and recipe.channels_last in (None, channels_last)
    ] or [(recipe.precision, bool(recipe.channels_last))]
    choice = allowed[0]
    if len(allowed) > 1:
        batch = max(2, min(recipe.batch_size, train_images))
        choice = fastest(model, (batch, channels, recipe.size, recipe.size), allowed, _device())
    return recipe.changed({"precision": choice[0], "channels_last": choice[1]})


def fit(
    model: nn.Module, data: ImageData, preprocess: Preprocess, recipe: Recipe, folder: Path, *, quiet: bool = False
) -> Outcome:
    """Train ``model`` in place on ``data``, continuing from the folder's checkpoint if there is one.

    Args:
        model: ``(B, data.channels, size, size)`` to ``(B, classes)``.
        data: images to learn from and held-out ones.
        preprocess: how an image becomes an input.
        recipe: all choices; precision and memory order must be settled.
        folder: where checkpoints and ``history.csv`` go.
        quiet: no progress on the error stream.

    Raises:
        InterruptedRunError: on Ctrl-C.
        InputError: if the loss stops being finite.
    """
    batches = partial(
        loader, channels=data.channels, batch_size=recipe.batch_size, workers=recipe.workers, seed=recipe.seed
    )
    augmented = training_transform(
        preprocess,
        crop_min=recipe.crop_min,
        flip=recipe.flip,
        rotation=recipe.rotation,
        translate=recipe.translate,
        erase=recipe.erase,
    )
    train_loader = batches(data.train, augmented, shuffle=True)
    val_loader = batches(data.val, evaluation_transform(preprocess))
    checkpoint = folder / CHECKPOINT
    keep_last = ModelCheckpoint(
        checkpoint.parent, checkpoint.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    history = History(folder / "history.csv")
    with _quiet_lightning(), without_pillows_warnings(), _interruptible(folder):
        trainer = L.Trainer(
            accelerator="auto",
            devices=1,
            precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
            max_epochs=recipe.epochs,
            callbacks=[history, keep_last, *([] if quiet else [ProgressBar()])],
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        resumed = checkpoint if checkpoint.exists() else None
        trainer.fit(
            Classify(model, recipe, len(data.classes)), train_loader, val_loader, ckpt_path=resumed, weights_only=True
        )
    model.cpu().eval()
    last = history.rows[-1]
    seconds = sum(row["seconds"] for row in history.rows)
    return Outcome(round(last["val_top1"], 6), round(last["val_top5"], 6), round(seconds, 2), recipe.epochs)


def _device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


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


@contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    """Turn Ctrl-C into ``InterruptedRunError``: Lightning answers ``KeyboardInterrupt`` by leaving the process."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise InterruptedRunError(folder)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
