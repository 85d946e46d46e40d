"""What was written before the columns of recipes got their present names still loads, is measured, and goes on."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.paths import FIXTURES
from safetensors.torch import load_file

import featherbone as fb
from featherbone.evaluation.classification import ClassificationEvaluation

OLDER = FIXTURES / "2026-11"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the run, as its owner has it."""
    return Path(shutil.copytree(OLDER / "digits", tmp_path / "digits"))


def test_an_older_run_is_measured_as_it_was(run: Path) -> None:
    recorded = json.loads((run / "result.json").read_text())
    with pytest.warns(UserWarning, match="'averaging' is 'ema_decay' now"):
        evaluation = fb.evaluate(run, quiet=True)
    assert isinstance(evaluation, ClassificationEvaluation)
    assert evaluation.top1 == pytest.approx(recorded["top1"], abs=0.003)  # of one image in 360
    header = fb.read_header(run)
    assert header.task == ""
    assert header.classes == tuple("0123456789")
    assert fb.load(run).spec == header.spec


def test_an_older_run_goes_on_where_it_was_stopped(run: Path) -> None:
    recorded = json.loads((run / "result.json").read_text())
    for name in ("result.json", "model.safetensors"):
        (run / name).unlink()
    history = (run / "history.csv").read_text().splitlines(keepends=True)
    (run / "history.csv").write_text("".join(history[:-1]))
    said = "'averaging' is 'ema_decay' now, 'head_first' is 'freeze_epochs' now"
    unknown = "did not record the content of its files, nor its versions and threads"
    with pytest.warns(UserWarning, match=said), pytest.warns(UserWarning, match=unknown):
        again = fb.resume(run, quiet=True)
    assert (again.recipe.ema_decay, again.recipe.freeze_epochs, again.recipe.random_erasing) == (0.9, 1, 0.1)
    assert again.test_top1 == pytest.approx(recorded["top1"], abs=0.02)  # other processors round otherwise
    assert len((run / "history.csv").read_text().splitlines()) == 1 + 4


def test_an_older_recipe_names_the_new_words() -> None:
    stored = json.loads((OLDER / "digits" / "recipe.json").read_text())
    with pytest.warns(UserWarning, match="'averaging' is 'ema_decay' now.*its values are kept"):
        assert fb.Recipe.from_dict(stored).ema_decay == 0.9
    with pytest.raises(fb.InputError, match="recipe column 'averaging' is called 'ema_decay' now"):
        fb.Recipe().changed({"averaging": 0.5})


def test_an_older_detector_computes_what_it_did() -> None:
    model = fb.load(OLDER / "detector.safetensors", fb.Detector)
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.no_grad():
        found = model(image)
    wanted = load_file(OLDER / "detector_outputs.safetensors")["outputs"]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert fb.read_header(OLDER / "detector.safetensors").classes == ("disc", "square")
