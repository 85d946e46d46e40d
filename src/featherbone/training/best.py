"""The weights of the best epoch so far, kept beside the checkpoints until the run ends."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
from safetensors.torch import load_file, save_file
from torch import Tensor

from featherbone.files import replacing
from featherbone.training.callbacks import History
from featherbone.training.checkpoints import FOLDER
from featherbone.training.learner import Learner

_OLDER = "best.safetensors"  # what older versions called it, in runs with patience
_BEFORE = 2  # as many checkpoints are kept


class Best(L.Callback):
    """Keep the weights of the epoch with the best held-out score; of equal ones the first.

    Each such epoch has a file of its own. Those of the ones before stay while a checkpoint that is kept may name them:
    a run that is killed between the file and the checkpoint still finds what it goes on from.

    Args:
        run: its folder.
        history: what every epoch reached; it travels in the checkpoint.
    """

    def __init__(self, run: Path, history: History) -> None:
        self.folder, self.history = run / FOLDER, history
        self.score, self.epoch = -math.inf, 0

    @property
    def path(self) -> Path:
        """Where the weights of the best epoch lie."""
        return self._file(self.epoch)

    def weights(self) -> dict[str, Tensor] | None:
        """Return them; ``None`` if they are not there, as an older version that trained that epoch kept none."""
        return load_file(self.path) if self.path.exists() else None

    def take_over(self, watched: str) -> None:
        """Take what an older version's run had reached, of which its checkpoint does not name the epoch.

        Args:
            watched: the column of the history that says which epoch is the best.
        """
        reached = [(row[watched], int(row["epoch"])) for row in self.history.rows if not math.isnan(row[watched])]
        if self.epoch or not reached:
            return
        self.score, self.epoch = max(reached, key=lambda one: one[0])
        with suppress(FileNotFoundError):  # there was one with patience only, and another process may have renamed it
            (self.folder / _OLDER).rename(self.path)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        self.take_over(pl_module.watched)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        reached = float(trainer.callback_metrics[pl_module.watched])
        if not pl_module.validated or not reached > self.score:
            return
        self.score, self.epoch = reached, trainer.current_epoch + 1
        if not trainer.is_global_zero:
            return
        with replacing(self.path) as temporary:
            save_file({k: v.cpu().contiguous() for k, v in pl_module.result.state_dict().items()}, temporary)
            with temporary.open("rb") as stream:  # it must outlive a power cut, as the checkpoint that names it does
                os.fsync(stream.fileno())
        # files of later epochs are those of a future that did not come: the run was resumed before them
        earlier = sorted((path for path in self.folder.glob("best-*.safetensors") if path < self.path), reverse=True)
        later = [path for path in self.folder.glob("best-*.safetensors") if path > self.path]
        for path in (*earlier[_BEFORE:], *later):
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score, self.epoch = state_dict["score"], state_dict.get("epoch", 0)

    def _file(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:06}.safetensors"
