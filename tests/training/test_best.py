"""The weights of the best and of the last epoch are both kept, as files that describe themselves."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.runs import seen
from helpers.training import QUICK, evaluated
from safetensors.torch import load_file
from torch import nn

import featherbone as fb
from featherbone.data.dataset import Dataset
from featherbone.data.sampler import EpochBatches
from featherbone.training.best import Best
from featherbone.training.callbacks import History
from featherbone.training.classification import ClassificationLearner


def reached(run: Path) -> list[float]:
    with (run / "history.csv").open() as stream:
        return [float(row["val_top1"]) for row in csv.DictReader(stream)]


def test_a_run_keeps_its_best_epoch_beside_its_last(finished: fb.Run) -> None:
    scores = reached(finished.folder)
    best = scores.index(max(scores)) + 1
    assert finished.best is not None
    assert finished.last is not None
    assert (finished.best.epoch, finished.best.file) == (best, "best.safetensors")
    assert (finished.last.epoch, finished.last.file) == (16, "model.safetensors")
    assert finished.best.scores["top1"] == pytest.approx(max(scores), abs=1e-6)
    assert finished.last.scores == finished.scores
    stored = json.loads((finished.folder / "result.json").read_text())
    assert stored["best"] == finished.to_dict()["best"]
    file = finished.folder / "best.safetensors"
    assert fb.read_header(file) == fb.read_header(finished.folder)
    # its own data: the images that were held out, not all of them
    for data in (None, finished.recipe.data):
        found = evaluated(file, data)
        assert found.images == finished.test_images
        assert found.top1 == pytest.approx(max(scores), abs=1e-6)
    answers, _ = fb.predict(file, [next(Path(finished.recipe.data).rglob("*.png"))], quiet=True)
    assert len(answers) == 1
    assert seen(finished.folder / "run.html")["result"]["best"]["file"] == "best.safetensors"
    assert finished.other is not None
    assert finished.other[0] == "best epoch"
    assert finished.other[1].startswith(f"{best}: ")


def test_with_patience_the_last_is_kept_beside_the_best(finished: fb.Run, tmp_path: Path) -> None:
    changes = {**QUICK, "epochs": 5, "patience": 3}
    run = fb.train(finished.recipe.data, out=tmp_path / "run", changes=changes, quiet=True)
    scores = reached(run.folder)
    best = scores.index(max(scores)) + 1
    assert run.best is not None
    assert run.last is not None
    assert (run.best.epoch, run.best.file) == (best, "model.safetensors")
    assert (run.last.epoch, run.last.file) == (len(scores), "last.safetensors")
    assert run.scores == run.best.scores
    assert evaluated(run.folder).top1 == pytest.approx(max(scores), abs=1e-6)
    assert evaluated(run.folder / "last.safetensors").top1 == pytest.approx(scores[-1], abs=1e-6)
    assert not (run.folder / "best.safetensors").exists()


def test_a_run_that_goes_on_still_knows_its_best(finished: fb.Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    assert finished.best is not None
    assert finished.best.epoch < 16, "the images are too hard for this test"
    for name in ("result.json", "model.safetensors", "best.safetensors"):
        (run / name).unlink()
    max((run / "checkpoints").glob("*.ckpt")).unlink()
    again = fb.resume(run, quiet=True)
    assert (again.best, again.last) == (finished.best, finished.last)
    one, other = (load_file(place / "best.safetensors") for place in (run, finished.folder))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_that_are_gone_are_said(finished: fb.Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    for path in (run / "result.json", run / "best.safetensors", *(run / "checkpoints").glob("best-*")):
        path.unlink()
    with pytest.warns(UserWarning, match="the weights of the best epoch .* are not kept"):
        again = fb.resume(run, quiet=True)
    assert again.best is not None
    assert again.best.file == ""
    assert not (run / "best.safetensors").exists()
    assert again.other is None
    assert again.test_top1 == finished.test_top1


class _Epochs:
    """A learner whose epochs reach what is said, without learning."""

    def __init__(self, run: Path) -> None:
        images = Dataset((Path("a"),) * 2, (0, 1))
        batches = EpochBatches(images, 2)
        self.model = nn.Linear(1, 2)
        self.learner = ClassificationLearner(self.model, fb.Recipe(), ("a", "b"), images, batches)
        self.run, self.history = run, History(run / "history.csv")

    def end(self, best: Best, epoch: int, score: float) -> None:
        trainer: Any = SimpleNamespace(
            callback_metrics={"val_top1": torch.tensor(score)}, current_epoch=epoch - 1, is_global_zero=True
        )
        self.history.rows.append({"epoch": epoch, "val_top1": score})
        self.model.weight.data.fill_(epoch)
        best.on_train_epoch_end(trainer, self.learner)


def test_what_a_kept_checkpoint_names_is_there_wherever_a_run_is_killed(tmp_path: Path) -> None:
    epochs = _Epochs(tmp_path)
    best = Best(tmp_path, epochs.history)
    states = []
    for epoch, score in enumerate((0.1, 0.5, float("nan"), 0.5, 0.6, 0.7), 1):
        # killed here, in the last epoch's place: the checkpoints of the two before may be taken
        epochs.end(best, epoch, score)
        states.append(best.state_dict())
        for state in states[-3:]:
            older = Best(tmp_path, History(tmp_path))
            older.load_state_dict(state)
            weights = older.weights()
            assert weights is not None
            assert float(weights["weight"][0, 0]) == older.epoch
    assert [state["epoch"] for state in states] == [1, 2, 2, 2, 5, 6]
    assert len([*(tmp_path / "checkpoints").iterdir()]) == 3


def test_a_future_that_did_not_come_is_forgotten(tmp_path: Path) -> None:
    epochs = _Epochs(tmp_path)
    best = Best(tmp_path, epochs.history)
    for epoch, score in ((1, 0.1), (2, 0.2)):
        epochs.end(best, epoch, score)
    state = best.state_dict()
    epochs.end(best, 3, 0.9)  # killed before the checkpoint, and the epoch comes out otherwise, as on a GPU
    best = Best(tmp_path, epochs.history)
    best.load_state_dict(state)
    epochs.end(best, 3, 0.1)
    weights = best.weights()
    assert weights is not None
    assert float(weights["weight"][0, 0]) == best.epoch == 2


def test_what_an_older_version_had_reached_counts(tmp_path: Path) -> None:
    epochs = _Epochs(tmp_path)
    epochs.history.rows += [{"epoch": 1, "val_top1": 0.8}, {"epoch": 2, "val_top1": 0.9}, {"epoch": 3, "val_top1": 0.4}]
    best = Best(tmp_path, epochs.history)
    best.take_over("val_top1")
    epochs.end(best, 4, 0.6)
    assert (best.epoch, best.weights()) == (2, None)
    epochs.end(best, 5, 0.95)
    assert best.epoch == 5
    assert best.weights() is not None
