"""A run that learns from a share of the images says so everywhere, and goes on with the same ones."""

import json
import shlex
from pathlib import Path

import pytest
from helpers.runs import seen
from helpers.training import QUICK, evaluated, history, same_weights

import featherbone as fb
from featherbone.runs import reproduce
from featherbone.runs.tasks import CLASSIFICATION

FEW = {**QUICK, "epochs": 2, "batch_size": 4, "fraction": 0.3}


def test_a_run_on_a_share_of_the_images_says_it_and_goes_on_with_it(
    colours: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    said: list[str] = []
    run = fb.train(colours, out=tmp_path / "run", changes=FEW, quiet=True, log=said.append)
    (line,) = [line for line in said if line.startswith("data ")]
    assert "12 images to learn from (drawn from 39: fraction 0.3), 9 held out" in line
    facts = json.loads((run.folder / "data.json").read_text())
    assert (facts["train_images"], facts["drawn_from"], facts["val_images"]) == (12, 39, 9)
    assert (run.train_images, run.drawn_from) == (12, 39)
    assert run.to_dict()["drawn_from"] == 39
    files = (run.folder / "files.csv").read_text().splitlines()
    assert len(files) == 1 + 12 + 9  # an image that is not read may change
    page = seen(run.folder / "run.html")
    assert page["data"]["drawn_from"] == 39
    assert "missing" not in page
    assert evaluated(run.folder).top1 == pytest.approx(run.test_top1, abs=1e-6)
    assert not [str(one.message) for one in recwarn if "are not those that the run" in str(one.message)]

    command = reproduce.command(run.folder, run.recipe, CLASSIFICATION)
    assert command is not None
    assert "fraction=0.3" in shlex.split(command)
    before = history(run.folder)
    for name in ("result.json", "model.safetensors"):
        (run.folder / name).unlink()
    newest = max((run.folder / "checkpoints").glob("*.ckpt"))
    newest.unlink()
    again = fb.resume(run.folder, quiet=True)
    assert history(again.folder) == before
    other = fb.train(colours, out=tmp_path / "other", recipe=run.recipe, quiet=True)
    assert same_weights(run.folder, other.folder)


def test_a_run_on_all_images_says_nothing_of_a_share(short: fb.Run) -> None:
    assert short.drawn_from is None
    assert json.loads((short.folder / "data.json").read_text())["drawn_from"] is None


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.1, True])
def test_shares_that_are_none_are_refused(wrong: object, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match=f"fraction={wrong!r} is not allowed: "):
        fb.train(colours, out=tmp_path / "run", changes={"fraction": wrong}, quiet=True)
    assert not (tmp_path / "run").exists()
