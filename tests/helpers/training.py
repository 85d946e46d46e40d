"""Runs that are quick, what they left behind, and what classifiers say."""

import csv
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import featherbone as fb
from featherbone.data.dataset import Skipped
from featherbone.evaluation.classification import ClassificationEvaluation, ClassificationPrediction
from featherbone.training.learner import Learner

QUICK = {
    "epochs": 16,
    "batch_size": 8,
    "optimizer": "sgd",
    "momentum": 0.9,
    "lr": 0.02,
    "flip": 0.0,
    "precision": "f32",
    "channels_last": True,
    "workers": 0,
}


# processes share processors, but each takes a GPU of its own
two_processes = pytest.mark.skipif(
    torch.accelerator.is_available() and torch.accelerator.device_count() < 2, reason="this machine has one GPU only"
)


def same_weights(first: Path, second: Path) -> bool:
    """Return whether two runs ended with the same bits."""
    a, b = (load_file(run / "model.safetensors") for run in (first, second))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def history(run: Path) -> list[dict[str, str]]:
    """Return the rows of a history, without the time that they took."""
    with (run / "history.csv").open(encoding="utf-8") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def evaluated(*given: Any, **named: Any) -> ClassificationEvaluation:
    """Return the evaluation of a classifier, without progress."""
    result = fb.evaluate(*given, **named, quiet=True)
    assert isinstance(result, ClassificationEvaluation)
    return result


def classified(*given: Any, **named: Any) -> tuple[list[ClassificationPrediction], list[Skipped]]:
    """Return what a classifier says of images, without progress."""
    found, skipped = fb.predict(*given, **named, quiet=True)
    return [one for one in found if isinstance(one, ClassificationPrediction)], skipped


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> Iterator[None]:
    """Let Ctrl-C be pressed in a step of the run inside the block, epochs and batches counted from 0; it must stop."""
    step = Learner.training_step

    def pressed(self: Learner, given: object, number: int) -> Tensor:
        if (self.current_epoch, number) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, given, number)

    with monkeypatch.context() as patch, pytest.raises(fb.InterruptedRunError):
        patch.setattr(Learner, "training_step", pressed)
        yield
