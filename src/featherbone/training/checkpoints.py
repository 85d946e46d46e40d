"""Checkpoints of a run: each is written whole or not at all, the last two are kept, a damaged one is passed over."""

from __future__ import annotations

import math
import os
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from safetensors.torch import save_file

from featherbone.errors import InputError, first_line
from featherbone.files import replacing
from featherbone.training.learner import Learner

FOLDER = "checkpoints"
_KEPT = 2
_SUFFIX = ".ckpt"


class AtomicIO(TorchCheckpointIO):
    """How Lightning writes: beside the target, down to the disk, then under its name."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        try:
            with replacing(target) as temporary, temporary.open("wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
        except (InputError, RuntimeError) as error:  # RuntimeError is what torch.save makes of a full disk
            raise InputError(
                f"the run has stopped: {first_line(error)}; what was saved before is whole: make room, then "
                f"featherbone train --resume {target.parent.parent}"
            ) from error


class Checkpoints(Checkpoint):
    """Save the run at the end of every epoch, and within an epoch every so many seconds.

    After the last batch of an epoch it waits for the epoch's end: Lightning would otherwise resume as if the epoch had
    been evaluated. It is a ``Checkpoint`` of Lightning's because those run after all other callbacks.
    """

    def __init__(self, run: Path, seconds: float) -> None:
        self.folder = run / FOLDER
        self.seconds = seconds
        self._saved = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:  # what a killed process had begun to write
            for half in self.folder.glob(f".*{_SUFFIX}"):
                half.unlink(missing_ok=True)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        late = time.monotonic() - self._saved >= self.seconds
        if trainer.world_size > 1:
            late = trainer.strategy.broadcast(late)  # all processes save, or none
        if late and not trainer.is_last_batch:
            self.save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.save(trainer, pl_module)

    def save(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write a checkpoint and delete those before the last but one."""
        assert isinstance(pl_module, Learner)
        pl_module.check_finite()
        trainer.save_checkpoint(self.folder / f"{trainer.global_step:09}{_SUFFIX}")
        self._saved = time.monotonic()
        if trainer.is_global_zero:
            for old in written(self.folder.parent)[_KEPT:]:
                old.unlink(missing_ok=True)


class Best(L.Callback):
    """Keep the weights of the epoch with the best held-out score."""

    def __init__(self, run: Path) -> None:
        self.path = run / FOLDER / "best.safetensors"
        self.score = -math.inf

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        reached = float(trainer.callback_metrics[pl_module.watched])
        if reached > self.score:
            self.score = reached
            if trainer.is_global_zero:
                with replacing(self.path) as temporary:
                    save_file({k: v.cpu().contiguous() for k, v in pl_module.result.state_dict().items()}, temporary)

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score = state_dict["score"]


def written(run: Path) -> list[Path]:
    """Return a run's checkpoints, the newest first."""
    return sorted((run / FOLDER).glob(f"[0-9]*{_SUFFIX}"), reverse=True)


def newest_whole(run: Path) -> Path | None:
    """Return the newest checkpoint that can be read; a damaged one is named in a warning, and left where it is.

    Raises:
        InputError: if there are some, and none can be read.
    """
    found = written(run)
    for path in found:
        try:
            with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
                damaged = archive.testzip()
            if damaged is None:
                torch.load(path, map_location="cpu", weights_only=True)
                return path
            problem = f"{damaged} has another checksum"
        except Exception as error:  # noqa: BLE001 - pickle and zip fail in ways of their own
            problem = first_line(error)
        warnings.warn(f"{path} is damaged ({problem}): the one before is taken", stacklevel=2)
    if found:
        raise InputError(f"no checkpoint in {run / FOLDER} can be read: start the run anew in another folder")
    return None
