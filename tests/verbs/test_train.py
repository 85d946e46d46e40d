"""A run is determined by its recipe, survives interruption to the bit, and describes itself."""

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.families import slow_but
from helpers.training import QUICK, history, same_weights
from safetensors.torch import load_file

import featherbone as fb
from featherbone.training.callbacks import History


def test_a_run_learns_and_describes_itself(finished: fb.Run) -> None:
    assert finished.test_top1 > 0.8
    assert finished.classes == ("blue", "green", "red")
    files = {p.name for p in finished.folder.iterdir()}
    assert files == {
        "recipe.json",
        "data.json",
        "files.csv",
        "environment.json",
        "writer.json",
        ".lock",
        "history.csv",
        "checkpoints",
        "tensorboard",
        "model.safetensors",
        "best.safetensors",
        "batch.png",
        "result.json",
        "run.html",
    }
    header = fb.read_header(finished.folder)
    assert header.classes == finished.classes
    assert isinstance(header.spec, fb.Spec)
    assert header.spec.stem_stride == 1
    assert header.preprocess == fb.Preprocess.usual(32, 3)
    assert len(history(finished.folder)) == QUICK["epochs"]
    result = json.loads((finished.folder / "result.json").read_text())
    assert result["top1"] == finished.test_top1
    assert result["torch"] == torch.__version__
    json.dumps(finished.to_dict())


@pytest.mark.slow
def test_the_saved_recipe_is_the_whole_run(finished: fb.Run, tmp_path: Path) -> None:
    stored = json.loads((finished.folder / "recipe.json").read_text())
    recipe = fb.Recipe.from_dict(stored)
    assert recipe == finished.recipe
    assert recipe.to_dict() == stored
    again = fb.train(recipe.data, out=tmp_path / "again", recipe=recipe, quiet=True)
    assert same_weights(finished.folder, again.folder)


@pytest.mark.parametrize(
    "moment", slow_but(("after the epoch", "in the middle of the next"), ("in the middle of the next",))
)
def test_ctrl_c_and_resume_give_the_undisturbed_run_to_the_bit(
    finished: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    hook = "on_train_epoch_end" if moment == "after the epoch" else "on_train_batch_end"
    undisturbed = getattr(History, hook)

    def interrupted(self: History, trainer, *rest) -> None:  # type: ignore[no-untyped-def]
        undisturbed(self, trainer, *rest)
        if trainer.current_epoch == (1 if hook == "on_train_epoch_end" else 2):
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch, pytest.raises(fb.InterruptedRunError) as stopped:
        patch.setattr(History, hook, interrupted)
        fb.train(finished.recipe.data, out=out, changes=QUICK, quiet=True)
    assert stopped.value.folder == out
    assert signal.getsignal(signal.SIGINT) is before
    assert not (out / "model.safetensors").exists()
    with pytest.raises(fb.InputError, match="did not finish: featherbone train --resume"):
        fb.load(out)
    resumed = fb.resume(out, quiet=True)
    assert same_weights(finished.folder, resumed.folder)
    assert history(finished.folder) == history(resumed.folder)
    assert resumed.test_top1 == finished.test_top1


@pytest.mark.slow
def test_interrupted_before_the_first_epoch_ends(
    finished: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(fb.InterruptedRunError):
        patch.setattr(History, "on_train_batch_end", interrupted)
        fb.train(finished.recipe.data, out=tmp_path / "run", changes=QUICK, quiet=True)
    assert same_weights(finished.folder, fb.resume(tmp_path / "run", quiet=True).folder)


def test_stopped_after_the_last_epoch_but_before_the_weights_were_written(finished: fb.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    for name in ("model.safetensors", "result.json"):
        (tmp_path / "run" / name).unlink()
    resumed = fb.resume(tmp_path / "run", quiet=True)
    assert same_weights(finished.folder, resumed.folder)
    assert resumed.test_top1 == finished.test_top1


def test_what_cannot_be_trained_or_resumed(finished: fb.Run, colours: Path, tmp_path: Path) -> None:
    def refuses(said: str, **options: Any) -> None:
        with pytest.raises(fb.InputError, match=said):
            fb.train(colours, quiet=True, **options)

    refuses("holds a run already", out=finished.folder)
    refuses("is a file", out=colours / "blue" / "00.png")
    refuses("recipe column 'epoch' is unknown.*epochs", out=tmp_path / "a", changes={"epoch": 3})
    refuses("epochs=0", out=tmp_path / "a", changes={"epochs": 0})
    refuses("lr=-1", out=tmp_path / "a", changes={"lr": -1})
    refuses("size=4 is too small", out=tmp_path / "a", changes={"size": 4})
    refuses("model 'mobilenet_v2' is unknown", out=tmp_path / "a", model="mobilenet_v2")
    assert not (tmp_path / "a").exists()
    with pytest.raises(fb.InputError, match="holds no run to resume"):
        fb.resume(tmp_path)
    with pytest.raises(fb.InputError, match="is finished"):
        fb.resume(finished.folder)


def test_resuming_with_other_images_is_refused(colours: Path, tmp_path: Path) -> None:
    run = fb.train(colours, out=tmp_path / "run", changes={**QUICK, "epochs": 1}, quiet=True)
    (run.folder / "result.json").unlink()
    (colours / "blue" / "00.png").unlink()
    with pytest.raises(fb.InputError, match="not those that the run"):
        fb.resume(run.folder, quiet=True)


def test_resuming_decodes_no_image_beforehand(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (colours / "blue" / "notes.txt").write_text("no picture")
    run = fb.train(colours, out=tmp_path / "run", changes={**QUICK, "epochs": 1}, quiet=True)
    (run.folder / "result.json").unlink()

    def refused(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("featherbone.data.assemble.scan_images", refused)
    again = fb.resume(run.folder, quiet=True)
    assert again.skipped == run.skipped
    assert again.test_top1 == run.test_top1


def test_broken_files_are_listed_at_the_end(colours: Path, tmp_path: Path) -> None:
    (colours / "blue" / "notes.txt").write_text("no picture")
    run = fb.train(colours, out=tmp_path / "run", changes={**QUICK, "epochs": 1}, quiet=True)
    assert [(file.path, file.reason) for file in run.skipped] == [(str(Path("blue", "notes.txt")), "not an image")]


@pytest.mark.slow
def test_bfloat16_trains_too(colours: Path, tmp_path: Path) -> None:
    run = fb.train(colours, out=tmp_path / "run", changes={**QUICK, "precision": "bf16"}, quiet=True)
    losses = [float(row["train_loss"]) for row in history(run.folder)]
    assert losses[-1] < losses[0] / 2
    assert all(t.dtype in (torch.float32, torch.int64) for t in load_file(run.folder / "model.safetensors").values())


def test_every_family_trains(colours: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"growth_rate": 4, "layers": (1, 1), "stem_channels": 8}
    small = replace(fb.spec("densenet121"), **few)
    narrow: dict[str, Any] = {
        "conv_channels": (8,) * 4,
        "concat_channels": (8,) * 4,
        "stem_channels": (8, 8, 8),
        "layers": 2,
    }
    thin = replace(fb.spec("vovnet27_slim"), **narrow)
    for number, row in enumerate((small, thin)):
        run = fb.train(colours, row, out=tmp_path / str(number), changes={**QUICK, "epochs": 1}, quiet=True)
        assert np.isfinite(run.test_top1)


def test_a_stop_before_the_first_step_names_the_run_that_can_go_on(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["featherbone.runs.single"], "beginning", stop)
        with pytest.raises(fb.InterruptedRunError) as stopped:
            fb.train(colours, out=out, changes={**QUICK, "epochs": 1}, quiet=True)
    assert stopped.value.folder == out
    assert fb.resume(out, quiet=True).folder == out
