"""A run that is killed again and again, in the middle of anything, ends as if nothing had happened."""

import itertools
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
from helpers.images import draw_classes
from helpers.processes import ended, killed, resumed, typed
from helpers.training import QUICK, same_weights

import featherbone as fb
from featherbone.files import read_json, write_json
from featherbone.training.checkpoints import AtomicIO, Owner, candidates, written

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
def test_ctrl_c_leaves_a_run_that_resume_continues(tmp_path: Path) -> None:
    """A process and a signal, as in a terminal: to the loader processes too."""
    out, errors = tmp_path / "run", tmp_path / "errors.txt"
    options = ("--epochs", 12, "--batch-size", 8, "--precision", "f32", "--workers", 1)
    process = typed("train", draw_classes(tmp_path / "colours"), "--out", out, *options, errors=errors)
    deadline = time.monotonic() + 60
    while not list(out.glob("checkpoints/[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.pid
    os.killpg(process.pid, signal.SIGINT)
    process.join(60)
    said = errors.read_text()
    assert process.exitcode == 130, said
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
        shutil.copy(checkpoint, run / "checkpoints")
        fb.resume(run, quiet=True)
        assert same_weights(whole.folder, run), checkpoint.name


@pytest.mark.parametrize("damage", ["cut short", "one byte", "empty", "a pickle"])
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
