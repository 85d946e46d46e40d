"""A run that lasts so many minutes: its schedule follows the clock."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L

from featherbone.training.callbacks import History
from featherbone.training.learner import Learner

_VALIDATED = 0.5  # of the time that a batch is trained: how long one is validated, as long as nothing was measured
_TRAINED = 9  # as long as a validation takes is trained before the next one, or longer
_NEVER = 1 << 40  # epochs


class Deadline(L.Callback):
    """Tell a learner how much of its time is behind it, and end the run early enough for a last validation.

    Validation takes a tenth of the time at most: of short epochs, not every one has it. What was spent before a run was
    interrupted counts; while it was, no time passes.

    Args:
        history: knows the seconds spent.
        seconds: for training and validation.
    """

    def __init__(self, history: History, seconds: float) -> None:
        self.history, self.seconds = history, seconds
        self._validation: float | None = None
        self._validated = -math.inf
        self._began = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        pl_module.validated = False  # an epoch that is gone on with does not begin
        self._look(trainer, pl_module, 0)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        pl_module.validated = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._look(trainer, pl_module, batch_idx + 1)
        early = self._validation is not None and self.history.total - self._validated < _TRAINED * self._validation
        if trainer.world_size > 1:
            early = trainer.strategy.broadcast(early)
        trainer.check_val_every_n_epoch = _NEVER if early and not trainer.should_stop else 1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        pl_module.validated = True
        self._validation, self._validated = time.perf_counter() - self._began, self.history.total

    def state_dict(self) -> dict[str, Any]:
        return {"validation": self._validation, "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validation, self._validated = state_dict["validation"], state_dict["validated"]

    def _look(self, trainer: L.Trainer, pl_module: L.LightningModule, batches: int) -> None:
        assert isinstance(pl_module, Learner)
        validation = self._validation
        if validation is None and batches:
            validation = _VALIDATED * sum(map(float, trainer.num_val_batches)) * self.history.spent / batches
        # at least a tenth learns, however short the time is
        share = self.history.total / max(self.seconds - (validation or 0.0), 0.1 * self.seconds)
        if trainer.world_size > 1:
            share = trainer.strategy.broadcast(share)  # all of them learn alike, and stop at the same step
        pl_module.progress = min(1.0, share)
        trainer.should_stop = trainer.should_stop or share >= 1
