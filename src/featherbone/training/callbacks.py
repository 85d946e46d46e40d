"""What happens beside the training: a progress bar, a history on disk, a stop that loses nothing."""

from __future__ import annotations

import csv
import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from featherbone.files import replacing
from featherbone.signals import STOPS
from featherbone.training.checkpoints import Checkpoints
from featherbone.training.interrupt import StopRequest
from featherbone.training.learner import Learner

HistoryRow = dict[str, float]
_LOOK_EVERY = 10


class History(L.Callback):
    """One row per epoch in ``history.csv``.

    The rows, and the seconds of an epoch that is not complete, travel in the checkpoint: a resumed run repeats none and
    loses none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[HistoryRow] = []
        self._start, self._before = time.perf_counter(), 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
        assert isinstance(pl_module, Learner)
        watched = {"train_loss": measured["train_loss"]}
        for name in ("val_loss", *pl_module.scores.values()):  # Lightning remembers those of the epoch before
            watched[name] = measured[name] if pl_module.validated else math.nan
        rate = {"lr": max(group["lr"] for group in trainer.optimizers[0].param_groups)}
        epoch = {"epoch": trainer.current_epoch + 1, "seconds": round(self.spent, 3)}
        self._start, self._before = time.perf_counter(), 0.0
        self.rows.append({**epoch, **watched, **rate})
        if not trainer.is_global_zero:
            return
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            for row in self.rows:
                writer.writerow({name: "" if math.isnan(value) else value for name, value in row.items()})

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "spent": self.spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self._before = list(state_dict["rows"]), state_dict["spent"]

    @property
    def spent(self) -> float:
        """Seconds in the present epoch."""
        return self._before + time.perf_counter() - self._start

    @property
    def total(self) -> float:
        """Seconds in the whole run."""
        return sum(row["seconds"] for row in self.rows) + self.spent


class Begun(L.Callback):
    """Whether all that a checkpoint holds has been taken, and training has begun."""

    made = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.made = True


class Patience(EarlyStopping):
    """End the run after so many epochs without a better score; a run that had ended so ends so once more.

    Lightning's trainer does not remember that it was stopped: a run that was killed behind its last checkpoint, before
    its result was written, would go on.
    """

    def __init__(self, watched: str, epochs: int) -> None:
        super().__init__(watched, mode="max", patience=epochs, check_on_train_epoch_end=True, check_finite=False)

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint, as older versions have it."""
        return super().state_key.replace(type(self).__name__, EarlyStopping.__name__, 1)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        if pl_module.validated:
            super().on_train_epoch_end(trainer, pl_module)


class Stopping(L.Callback):
    """Save and stop after the step in which the user, or the system, asked for it.

    Several processes do not stop at the same step, so they save nothing then: the run resumes from its last checkpoint.
    """

    def __init__(self, request: StopRequest, checkpoints: Checkpoints) -> None:
        self.request, self.checkpoints = request, checkpoints

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            # a launcher sends them when one process has died; the others wait for that one, and would run no handler
            for number in STOPS:
                if number != signal.SIGINT:
                    signal.signal(number, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.request.made and trainer.world_size == 1 and not trainer.is_last_batch:
            self.checkpoints.save(trainer, pl_module)
        self.request.check()

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        self.request.check()


class ProgressBar(L.Callback):
    """A line per epoch on the error stream; in a terminal, bars of this epoch and of the whole run."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[watched]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._loss: float | None = None
        self._epoch = self.bar.add_task(_epoch(trainer), total=int(trainer.num_training_batches), watched="")
        completed, total = self._reached(trainer, pl_module)
        self._run = self.bar.add_task("whole run", completed=completed, total=total, watched="")
        self.bar.start()
        if trainer.global_step:
            self._print(f"going on in {_epoch(trainer)}")
            for row in self.history.rows[-1:]:
                self._print_epoch(trainer, pl_module, int(row["epoch"]), row)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._loss is None or batch_idx % _LOOK_EVERY == 0:  # looking at a loss waits for a GPU
            self._loss = float(outputs["loss"])
        description, watched = _epoch(trainer), f"loss {self._loss:.3f}"
        self.bar.update(self._epoch, completed=batch_idx + 1, description=description, watched=watched)
        self.bar.update(self._run, completed=self._reached(trainer, pl_module)[0])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._print_epoch(trainer, pl_module, trainer.current_epoch + 1, self.history.rows[-1])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.bar.stop()

    def _print_epoch(
        self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int, seen: Mapping[str, Any]
    ) -> None:
        assert isinstance(pl_module, Learner)
        reached = float(seen[pl_module.watched])
        held_out = f"  held-out {pl_module.headline} {reached:.2%}" if not math.isnan(reached) else ""
        self._print(f"epoch {_of_all(epoch, trainer)}  loss {float(seen['train_loss']):.3f}{held_out}")

    def _reached(self, trainer: L.Trainer, pl_module: L.LightningModule) -> tuple[int, int]:
        """Return how much of the run is done, and of how much: steps, or seconds of a run of so many minutes."""
        assert isinstance(pl_module, Learner)
        if pl_module.recipe.minutes:
            seconds = round(60 * pl_module.recipe.minutes)
            return min(seconds, round(self.history.total)), seconds
        return trainer.global_step, int(trainer.estimated_stepping_batches)

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)


def _epoch(trainer: L.Trainer) -> str:
    return f"epoch {_of_all(trainer.current_epoch + 1, trainer)}"


def _of_all(epoch: int, trainer: L.Trainer) -> str:
    return f"{epoch}/{trainer.max_epochs}" if trainer.max_epochs != -1 else str(epoch)
