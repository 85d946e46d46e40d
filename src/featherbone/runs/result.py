"""What a run leaves behind when it ends: its weights, those beside them, and what they reached."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from featherbone.files import write_json
from featherbone.runs.folder import BEST, LAST, RESULT, EpochWeights
from featherbone.weights import FILE_NAME, Header, Network, save

if TYPE_CHECKING:
    from featherbone.training.loop import Outcome


def write_weights(folder: Path, model: Network, outcome: Outcome, header: Header, *, patience: bool) -> None:
    """Write the run's answer, and beside it the weights of its best epoch, or of its last one.

    Args:
        folder: of the run.
        model: the network with the weights that are the answer; it is left with the others.
        outcome: what was reached.
        header: classes, preprocessing and task, which each file says.
        patience: whether the answer is the best epoch's.
    """
    write = partial(save, model, classes=header.classes, preprocess=header.preprocess, task=header.task)
    write(folder / FILE_NAME)
    if outcome.other is not None:
        model.load_state_dict(outcome.other)
        write(folder / (LAST if patience else BEST))


def write_result(folder: Path, outcome: Outcome, *, patience: bool, changes: Sequence[str]) -> None:
    """Write what a run reached, of which epochs its weights are, and where it was computed."""
    beside = "" if outcome.other is None else LAST if patience else BEST
    best, last = (FILE_NAME, beside) if patience else (beside, FILE_NAME)
    answer = outcome.best if patience else outcome.last
    kept = {
        name: asdict(EpochWeights(epoch.number, epoch.scores, file))
        for name, epoch, file in (("best", outcome.best, best), ("last", outcome.last, last))
    }
    length = {"train_seconds": outcome.train_seconds, "epochs": outcome.epochs}
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    said = {"changes": list(changes)} if changes else {}
    write_json(folder / RESULT, {**answer.scores, **kept, **length, **machine, **said})
