"""A run that is killed again and again, in the middle of anything, ends as if nothing had happened."""

import itertools
import json
import math
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from helpers.families import slow_but
from helpers.images import draw_classes
from helpers.processes import begun, ended, killed, resumed, typed
from helpers.runs import seen
from helpers.training import QUICK, history, same_weights, two_processes

import featherbone as fb
from featherbone.files import read_json, write_json
from featherbone.training.callbacks import Begun
from featherbone.training.checkpoints import AtomicIO, Owner, candidates, written
from featherbone.training.learner import Learner

SMALL = {**QUICK, "epochs": 6, "ema_decay": 0.9, "mixup": 0.2, "checkpoint_seconds": 0.0}


def prepared(folder: Path, undisturbed: fb.Run) -> Path:
    """Return a run that has not begun."""
    folder.mkdir()
    for name in ("recipe.json", "data.json", "files.csv"):
        shutil.copy(undisturbed.folder / name, folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    place = tmp_path_factory.mktemp("undisturbed")
    return fb.train(draw_classes(place / "colours"), out=place / "run", changes=SMALL, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills", "longest"), [(1, 20, 0.9), (2, 6, 1.8)])
def test_kills_change_nothing(processes: int, kills: int, longest: float, undisturbed: fb.Run, tmp_path: Path) -> None:
    """One of the processes is killed in the middle of anything; a launcher then ends the others."""
    random = Random(0)
    whole = undisturbed.folder
    if processes > 1:
        whole = prepared(tmp_path / "whole", undisturbed)
        assert ended(resumed(whole, processes), 100)
    run, hit = prepared(tmp_path / "run", undisturbed), 0
    while hit < kills:
        if (run / "result.json").exists():  # a fast machine: once more from the start
            assert same_weights(whole, run)
            shutil.rmtree(run)
            prepared(run, undisturbed)
        team = resumed(run, processes)
        if ended(team, random.uniform(0.1, longest)):
            continue
        hit += killed(team, random)  # or it had just finished when the signal came
    assert (run / "result.json").exists() or ended(resumed(run, processes), 100)
    assert same_weights(whole, run)
    assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@two_processes
def test_two_processes_go_on_within_an_epoch_with_the_losses_of_both(colours: Path, tmp_path: Path) -> None:
    """A checkpoint holds the state of the first process; the history's mean is that of all."""
    wanted = {"data": colours, "changes": {**QUICK, "epochs": 2, "checkpoint_seconds": 0.0}}
    whole = tmp_path / "whole"
    assert ended(begun(whole, 2, **wanted), 120)
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in ("result.json", "model.safetensors", "run.html"):
        (run / name).unlink()
    max((run / "checkpoints").glob("*.ckpt")).unlink()  # that of the epoch's end
    assert ended(resumed(run, 2), 120)
    assert same_weights(whole, run)
    assert history(whole) == history(run)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_leaves_a_run_that_resume_continues(number: signal.Signals, tmp_path: Path) -> None:
    """As a terminal sends it, ``timeout``, systemd or SLURM: to the loader processes too."""
    out, errors = tmp_path / "run", tmp_path / "errors.txt"
    options = ("--epochs", 12, "--batch-size", 8, "--precision", "f32", "--workers", 1)
    process = typed("train", draw_classes(tmp_path / "colours"), "--out", out, *options, errors=errors)
    deadline = time.monotonic() + 60
    while not list(out.glob("checkpoints/[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.pid
    os.killpg(process.pid, number)
    process.join(60)
    said = errors.read_text()
    assert process.exitcode == 128 + number, said
    assert "Traceback" not in said
    assert f"train --resume {out}" in said
    assert fb.resume(out, quiet=True).recipe.epochs == 12
    assert len((out / "history.csv").read_text().splitlines()) == 13


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_every_checkpoint_leads_to_the_same_end(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["featherbone.training.checkpoints"], "_KEPT", 1000)
    data = draw_classes(tmp_path / "colours", count=8)
    changes = {**SMALL, "epochs": 2, "batch_size": 6, "workers": workers}
    whole = fb.train(data, out=tmp_path / "whole", changes=changes, quiet=True)
    saved = written(whole.folder)
    assert len(saved) == 6
    for checkpoint in saved[1:]:
        run = prepared(tmp_path / checkpoint.stem, whole)
        (run / "checkpoints").mkdir()
        for file in (checkpoint, *whole.folder.glob("checkpoints/best-*.safetensors")):
            shutil.copy(file, run / "checkpoints")
        fb.resume(run, quiet=True)
        assert same_weights(whole.folder, run), checkpoint.name


@pytest.mark.parametrize("damage", slow_but(("cut short", "one byte", "empty", "a pickle"), ("cut short", "a pickle")))
def test_a_damaged_checkpoint_is_passed_over(damage: str, undisturbed: fb.Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed.folder, run)
    newest, before = written(run)
    content = bytearray(newest.read_bytes())
    if damage == "one byte":
        content[len(content) // 2] ^= 0xFF
    damaged = {"cut short": content[:-1000], "one byte": content, "empty": b"", "a pickle": b"\x80\x04N."}
    newest.write_bytes(bytes(damaged[damage]))
    found = candidates(run, Owner(undisturbed.recipe, read_json(run / "data.json")["fingerprint"]))
    with pytest.warns(
        UserWarning, match=rf"{newest.name} is passed over, and the one before is taken: it is (damaged|no)"
    ):
        assert next(found) == before
    with pytest.raises(fb.InputError, match="no checkpoint .* can be gone on from"):
        next(found)


@pytest.fixture
def copied(finished: fb.Run, tmp_path: Path) -> Path:
    """A run that was killed after its last checkpoint."""
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    for name in ("result.json", "model.safetensors", "run.html"):
        (run / name).unlink()
    return run


def foreign(kind: str, checkpoint: Path) -> object:
    """Return what somebody has put in place of a checkpoint."""
    content = torch.load(checkpoint, weights_only=True)
    recipe = json.loads(content["featherbone_run"])
    weights = content["state_dict"]
    return {
        "nothing": {},
        "a tensor": torch.zeros(3),
        "weights alone": weights,
        "another recipe": {**content, "featherbone_run": json.dumps({**recipe, "lr": 0.5})},
        "other images": {**content, "featherbone_run": json.dumps({**recipe, "images": "others"})},
        "no recipe": {**content, "featherbone_run": 3},
        "another network": {**content, "state_dict": {name: tensor.flatten()[:1] for name, tensor in weights.items()}},
        "no loops": {**content, "loops": []},
        "odd callbacks": {**content, "callbacks": {name: [] for name in content["callbacks"]}},
        "no optimizer": {**content, "optimizer_states": []},
    }[kind]


KINDS = ("nothing", "a tensor", "weights alone", "another recipe", "other images", "no recipe")


@pytest.mark.parametrize("kind", [*KINDS, "another network", "no loops", "odd callbacks", "no optimizer"])
def test_a_checkpoint_of_another_run_is_refused_in_a_sentence(kind: str, copied: Path) -> None:
    for path in written(copied):
        torch.save(foreign(kind, path), path)
    passed = pytest.warns(UserWarning, match=r"000000\d+.ckpt is passed over(, and the one before is taken)?: it is ")
    with passed, pytest.raises(fb.InputError, match="no checkpoint in .* can be gone on from: start the run anew"):
        fb.resume(copied, quiet=True)


def test_beside_checkpoints_of_other_runs_the_last_own_one_is_taken_and_kept(copied: Path, finished: fb.Run) -> None:
    newest, before = written(copied)
    for number, kind in enumerate(("another recipe", "no loops")):
        torch.save(foreign(kind, newest), copied / "checkpoints" / f"00000999{number}.ckpt")
    newest.unlink()
    with pytest.warns(UserWarning, match="is passed over"):
        assert same_weights(finished.folder, fb.resume(copied, quiet=True).folder)
    assert {path.stem for path in written(copied)} == {"000009990", "000009991", newest.stem, before.stem}


def test_what_ended_a_run_is_saved_with_it(colours: Path, tmp_path: Path) -> None:
    """Killed after its last checkpoint, a run that had stopped early trained for some epochs more."""
    changes = {**QUICK, "epochs": 12, "patience": 1, "lr": 1e-9}
    whole = fb.train(colours, out=tmp_path / "whole", changes=changes, quiet=True)
    run = Path(shutil.copytree(whole.folder, tmp_path / "run"))
    for name in ("result.json", "model.safetensors", "run.html"):
        (run / name).unlink()
    again = fb.resume(run, quiet=True)
    assert history(run) == history(whole.folder)
    assert len(history(run)) == 2
    assert same_weights(whole.folder, again.folder)


def test_weights_that_are_not_finite_end_a_run(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step of an epoch may be the one that was too large: no loss comes after it."""

    def spoiled(self: Begun, trainer: object, learner: Learner) -> None:
        next(learner.model.parameters()).data[0] = torch.nan

    monkeypatch.setattr(Begun, "on_train_epoch_end", spoiled)
    with pytest.raises(fb.InputError, match="the weights are not finite any more at the end of epoch 1: .* lower lr"):
        fb.train(colours, out=tmp_path / "run", changes={**QUICK, "epochs": 2}, quiet=True)
    assert not written(tmp_path / "run")


def test_a_run_that_ends_without_a_finite_score_has_no_result(copied: Path) -> None:
    for path in written(copied):
        content = torch.load(path, weights_only=True)
        next(state for name, state in content["callbacks"].items() if "History" in name)["rows"][-1]["val_loss"] = (
            math.inf
        )
        torch.save(content, path)
    with pytest.raises(fb.InputError, match="the run has diverged: val_loss is inf in epoch 16, .* lower lr"):
        fb.resume(copied, quiet=True)
    assert not (copied / "result.json").exists()


def test_a_page_that_was_not_written_is_written_by_resuming(finished: fb.Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (run / "run.html").unlink()
    (run / ".run.0a1b2c3d.html").write_text("half a page")
    assert fb.resume(run, quiet=True).scores == finished.scores
    written_again, first = (seen(folder / "run.html") for folder in (run, finished.folder))
    assert "missing" not in written_again
    assert written_again.keys() == first.keys()
    assert written_again["result"] == first["result"]
    assert not (run / ".run.0a1b2c3d.html").exists()
    with pytest.raises(fb.InputError, match="is finished"):
        fb.resume(run)


@pytest.mark.slow
def test_of_two_that_begin_in_one_folder_one_wins_and_the_other_is_told_by_whom(colours: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "run", [tmp_path / "0.txt", tmp_path / "1.txt"]
    options = ("--out", out, "--epochs", 1, "--precision", "f32", "--workers", 0, "--quiet")
    pair = [typed("train", colours, "--seed", seed, *options, errors=said[seed]) for seed in (0, 1)]
    for process in pair:
        process.join(100)
    codes = [process.exitcode for process in pair]
    assert set(codes) == {0, 2}
    assert f"process {pair[codes.index(0)].pid} on " in said[codes.index(2)].read_text()
    assert json.loads((out / "recipe.json").read_text())["seed"] == codes.index(0)


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_last_checkpoint_stays(
    undisturbed: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on the size of files stands for the full disk."""
    run = prepared(tmp_path / "run", undisturbed)
    save, times = AtomicIO.save_checkpoint, itertools.count(1)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(self: AtomicIO, *rest: Any, **named: Any) -> None:
        if next(times) == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most[1]))
        save(self, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicIO, "save_checkpoint", limited)
        try:
            with pytest.raises(fb.InputError, match=f"the run has stopped: .* featherbone train --resume {run}$"):
                fb.resume(run, quiet=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert [path.stem for path in written(run)] == ["000000003", "000000002"]
    assert same_weights(undisturbed.folder, fb.resume(run, quiet=True).folder)


@pytest.mark.slow
def test_ctrl_c_saves_the_step(undisturbed: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared(tmp_path / "run", undisturbed)
    write_json(run / "recipe.json", {**undisturbed.recipe.to_dict(), "checkpoint_seconds": 1e9})
    from featherbone.training.callbacks import History

    def interrupted(self: History, trainer, *rest) -> None:  # type: ignore[no-untyped-def]
        if trainer.global_step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(fb.InterruptedRunError):
        patch.setattr(History, "on_train_batch_end", interrupted)
        fb.resume(run, quiet=True)
    assert written(run)[0].stem == "000000007"
    assert same_weights(undisturbed.folder, fb.resume(run, quiet=True).folder)


def test_a_loss_that_is_not_finite_names_the_batch(tmp_path: Path) -> None:
    colours = draw_classes(tmp_path / "colours")
    with pytest.raises(fb.InputError, match=r"the loss became (nan|inf) in epoch \d, in batch \d \(.*png.*lower lr"):
        fb.train(colours, out=tmp_path / "run", changes={**SMALL, "mixup": 0.0, "lr": 1e30}, quiet=True)
