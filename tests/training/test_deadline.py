"""Runs that last so many minutes, and images that grow while a run goes on."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.training import QUICK, history, interrupted, same_weights
from torch import Tensor

import featherbone as fb
from featherbone.cli.train import _minutes
from featherbone.data.loader import side_at
from featherbone.models.densenet import DenseNetSpec
from featherbone.training.classification import ClassificationLearner
from featherbone.training.learner import Learner

BRIEF = {name: value for name, value in QUICK.items() if name != "epochs"}
SECONDS = 4.0


def run_for(data: Path, out: Path, seconds: float = SECONDS, **changes: object) -> fb.Run:
    return fb.train(data, out=out, changes={**BRIEF, "minutes": seconds / 60, **changes}, quiet=True)


def rates(run: Path) -> list[float]:
    with (run / "history.csv").open() as stream:
        return [float(row["lr"]) for row in csv.DictReader(stream)]


def test_a_run_lasts_as_long_as_it_may_and_its_schedule_with_it(colours: Path, tmp_path: Path) -> None:
    run = run_for(colours, tmp_path / "run")
    # the last step and the last validation may take longer than those before
    assert SECONDS * 0.5 <= run.train_seconds <= SECONDS * 1.5
    assert run.epochs == len(history(run.folder)) > 1
    reached = rates(run.folder)
    assert max(reached) > 0.5 * run.recipe.lr
    assert reached[-1] < 0.05 * run.recipe.lr
    assert json.loads((run.folder / "result.json").read_text())["epochs"] == run.epochs


def test_less_than_an_epoch_is_evaluated_too(colours: Path, tmp_path: Path) -> None:
    run = run_for(colours, tmp_path / "run", 0.01)
    assert run.epochs == 1
    assert set(run.scores) == {"top1", "top5"}


def test_short_epochs_are_not_all_validated_but_the_last_is(colours: Path, tmp_path: Path) -> None:
    run = run_for(colours, tmp_path / "run")
    with (run.folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    validated = [int(row["epoch"]) for row in rows if row["val_top1"]]
    assert validated[0] == 1
    assert validated[-1] == len(rows)
    assert all(row["train_loss"] for row in rows)
    assert all(bool(row["val_top1"]) == bool(row["val_loss"]) for row in rows)
    assert run.best is not None
    assert run.best.epoch in validated
    assert run.scores["top1"] == pytest.approx(float(rows[-1]["val_top1"]), abs=1e-6)
    kept = json.loads((run.folder / "result.json").read_text())
    assert kept["epochs"] == len(rows)


def test_validation_takes_a_tenth_of_the_time(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validate = ClassificationLearner.validation_step

    def slow(self: ClassificationLearner, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        time.sleep(0.1)
        validate(self, batch, batch_idx)

    monkeypatch.setattr(ClassificationLearner, "validation_step", slow)
    run = run_for(colours, tmp_path / "run")
    with (run.folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    validated = [row for row in rows if row["val_top1"]]
    assert 2 <= len(validated) < 0.8 * len(rows)


def test_what_was_spent_before_an_interruption_counts(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Learner.training_step
    begun = time.monotonic()

    def interrupted(self: Learner, batch: object, batch_idx: int) -> Tensor:
        if time.monotonic() - begun > 0.6 * SECONDS and self.current_epoch:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", interrupted)
        with pytest.raises(fb.InterruptedRunError):
            run_for(colours, tmp_path / "run")
    time.sleep(SECONDS)  # no time of the run's
    before = len(history(tmp_path / "run"))
    run = fb.resume(tmp_path / "run", quiet=True)
    assert run.epochs > before > 0
    assert run.train_seconds <= SECONDS * 1.5
    assert rates(run.folder)[-1] < 0.05 * run.recipe.lr


def test_a_run_whose_time_is_over_ends_so_once_more(colours: Path, tmp_path: Path) -> None:
    run = run_for(colours, tmp_path / "run", 1.0)
    weights = fb.load(run.folder).state_dict()
    for name in ("result.json", "model.safetensors", "run.html"):
        (run.folder / name).unlink()
    again = fb.resume(run.folder, quiet=True)
    assert (again.epochs, again.scores) == (run.epochs, run.scores)
    assert all(torch.equal(weights[name], tensor) for name, tensor in fb.load(again.folder).state_dict().items())


@pytest.mark.parametrize(("text", "minutes"), [("10min", 10.0), ("90s", 1.5), ("1.5h", 90.0), (" 2 m ", 2.0)])
def test_times_as_people_write_them(text: str, minutes: float) -> None:
    assert _minutes(text) == minutes


@pytest.mark.parametrize("text", ["10", "min", "-1min", "0s", "1 day", ""])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(fb.InputError, match="such as 10min"):
        _minutes(text)


def test_a_length_is_given_once(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="minutes .* and epochs both say how long"):
        run_for(colours, tmp_path / "run", epochs=3)
    assert not (tmp_path / "run").exists()


def test_sides_rise_from_the_first_to_the_last() -> None:
    sides = [side_at(224, (0.5, 1.0), step / 100) for step in range(101)]
    assert (sides[0], sides[-1]) == (112, 224)
    assert sides == sorted(sides)
    assert all(side % 16 == 0 for side in sides)
    assert side_at(30, (1.0, 1.0), 0.3) == 30  # as it is: nothing is rounded
    assert side_at(32, (0.1, 0.1), 0.0) == 4


def test_a_run_shows_small_images_first(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int]] = []
    forward = fb.Backbone.forward

    def watched(self: fb.Backbone, x: Tensor) -> Tensor:
        if x.device.type != "meta":  # of a sketch
            seen.append((self.training, x.shape[-1]))
        return forward(self, x)

    row = DenseNetSpec(growth_rate=8, layers=(1, 1), stem_channels=16, stem_stride=1)
    monkeypatch.setattr(fb.Backbone, "forward", watched)
    changes = {**QUICK, "epochs": 4, "size": 32, "train_size": (0.5, 0.75)}
    run = fb.train(colours, row, out=tmp_path / "run", changes=changes, quiet=True)
    trained = [side for training, side in seen if training]
    assert set(trained) == {16, 20, 24}
    assert trained == sorted(trained)
    assert {side for training, side in seen if not training} == {32}
    assert fb.Recipe.from_dict(json.loads((run.folder / "recipe.json").read_text())).train_size == (0.5, 0.75)


@pytest.mark.parametrize("shares", [(1.0,), (0.1, 1.0), (0.5, 3.0), (0.5, 0.7, 1.0)])
def test_two_shares_are_given(shares: tuple[float, ...]) -> None:
    with pytest.raises(fb.InputError, match="train_size=.* is not allowed: two shares"):
        fb.Recipe(train_size=shares)


def test_sides_that_a_network_cannot_read_are_refused_before_the_run(colours: Path, tmp_path: Path) -> None:
    changes = {**QUICK, "size": 16, "train_size": (0.25, 1.0)}
    with pytest.raises(fb.InputError, match="size=4 is too small for this network: 8"):
        fb.train(colours, fb.spec("shufflenet_v2_x0_5"), out=tmp_path / "a", changes=changes, quiet=True)


def test_a_run_that_grows_resumes_to_the_bit(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {**QUICK, "epochs": 3, "train_size": (0.5, 1.0)}
    row = DenseNetSpec(growth_rate=8, layers=(1, 1), stem_channels=16, stem_stride=1)
    whole = fb.train(colours, row, out=tmp_path / "whole", changes=changes, quiet=True)
    with interrupted(monkeypatch, 1, 1):
        fb.train(colours, row, out=tmp_path / "cut", changes=changes, quiet=True)
    fb.resume(tmp_path / "cut", quiet=True)
    assert same_weights(whole.folder, tmp_path / "cut")
