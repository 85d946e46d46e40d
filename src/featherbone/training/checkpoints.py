"""Checkpoints of a run: each is written whole or not at all, and says whose it is; the last two are kept.

One that is damaged, or another run's, is passed over.
"""

from __future__ import annotations

import json
import os
import time
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from featherbone.errors import InputError, first_line, some
from featherbone.files import replacing
from featherbone.training.learner import Learner
from featherbone.training.recipe import Recipe

FOLDER = "checkpoints"
_KEPT = 2
_SUFFIX = ".ckpt"
_OWNER = "featherbone_run"  # in a checkpoint
_PARTS = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers")
_PLACES = {"data", "teacher", "workers", "checkpoint_seconds"}  # columns that change no step; files are told by content


@dataclass(frozen=True)
class Owner:
    """What tells a run from others: a checkpoint of a run with another recipe or other images leads elsewhere.

    Attributes:
        recipe: its recipe.
        fingerprint: of its images.
    """

    recipe: Recipe
    fingerprint: str

    def to_json(self) -> str:
        """Return it as a checkpoint has it."""
        return json.dumps({**self.recipe.to_dict(), "images": self.fingerprint})

    def others(self, stored: str) -> list[str]:
        """Return in what the owner of a checkpoint is another one; columns that only one version has do not count."""
        own, theirs = json.loads(self.to_json()), json.loads(stored)
        return sorted(name for name in (own.keys() & theirs.keys()) - _PLACES if own[name] != theirs[name])


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

    After the last batch of an epoch, also of one that the clock ends, it waits for the epoch's end: Lightning would
    otherwise resume as if the epoch had been evaluated. It is a ``Checkpoint`` of Lightning's because those run after
    all other callbacks.
    """

    def __init__(self, run: Path, owner: Owner) -> None:
        self.folder, self.owner = run / FOLDER, owner
        self._saved = time.monotonic()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[_OWNER] = self.owner.to_json()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        late = time.monotonic() - self._saved >= self.owner.recipe.checkpoint_seconds
        if trainer.world_size > 1:
            late = trainer.strategy.broadcast(late)  # all processes save, or none
        if late and not trainer.is_last_batch and not trainer.should_stop:
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
            # those of later steps were passed over, and must not push out what can be read
            past = [path for path in written(self.folder.parent) if int(path.stem) <= trainer.global_step]
            for old in past[_KEPT:]:
                old.unlink(missing_ok=True)


def written(run: Path) -> list[Path]:
    """Return a run's checkpoints, the newest first."""
    found = [path for path in (run / FOLDER).glob(f"*{_SUFFIX}") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def candidates(run: Path, owner: Owner) -> Iterator[Path | None]:
    """Yield the checkpoints that a run can go on from, the newest first; ``None`` if nothing was saved yet.

    One that is damaged, or another run's, is named in a warning, and left where it is.

    Raises:
        InputError: if there are some, and there is no further one that can be read.
    """
    found = written(run)
    for path in found:
        problem = _problem(path, owner)
        if not problem:
            yield path
        else:
            instead = "" if path == found[-1] else ", and the one before is taken"
            warnings.warn(f"{path} is passed over{instead}: it {problem}", stacklevel=2)
    if found:
        raise InputError(f"no checkpoint in {run / FOLDER} can be gone on from: start the run anew in another folder")
    yield None


def _problem(path: Path, owner: Owner) -> str:
    """Return why a checkpoint is of no use for a run; nothing if it may be."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            damaged = archive.testzip()
        if damaged is not None:
            return f"is damaged ({damaged} has another checksum)"
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        # Lightning would begin anew what is missing, without a word
        if not all(checkpoint.get(part) for part in _PARTS) or not checkpoint["callbacks"].get("History"):
            return "is no checkpoint of a run"
        others = owner.others(checkpoint.get(_OWNER, "{}"))  # an older version's says nothing
    except Exception as error:  # noqa: BLE001 - pickle and zip fail in ways of their own
        return f"is damaged ({first_line(error)})"
    return f"is that of a run with another {some(others, 3)}" if others else ""
