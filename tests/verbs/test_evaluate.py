"""What a run is measured on, and that an independent library measures the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.training import classified, evaluated
from sklearn.metrics import accuracy_score, confusion_matrix

import featherbone as fb


def test_evaluation_agrees_with_scikit_learn(finished: fb.Run, tmp_path: Path) -> None:
    # mislabelled on purpose: the network is right about all images of its own set
    wrong = tmp_path / "wrong"
    shutil.copytree(finished.recipe.data, wrong)
    (wrong / "blue").rename(wrong / "x")
    (wrong / "green").rename(wrong / "blue")
    (wrong / "x").rename(wrong / "green")
    for i in range(4):
        (wrong / "red" / f"{i:02}.png").unlink()
    result = evaluated(finished.folder, wrong)
    paths = sorted(wrong.glob("*/*.png"))
    found, skipped = classified(finished.folder, paths)
    assert not skipped
    true = [path.parent.name for path in paths]
    said = [prediction.classes[0] for prediction in found]
    assert result.top1 == pytest.approx(accuracy_score(true, said))
    assert (result.confusion == confusion_matrix(true, said, labels=finished.classes)).all()
    assert [score.images for score in result.classes] == [16, 16, 12]
    assert result.top5 == 1.0  # three classes: the true one is always among the first five
    json.dumps(result.to_dict())


def test_evaluation_of_the_training_folder_means_the_held_out_images(finished: fb.Run) -> None:
    own = evaluated(finished.folder)
    named = evaluated(finished.folder, finished.recipe.data)
    assert own.top1 == named.top1 == finished.test_top1
    assert int(own.confusion.sum()) == finished.test_images == 9


def test_evaluation_on_other_classes_is_refused(finished: fb.Run, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="digits has 10 classes .*not the 3 of"):
        evaluated(finished.folder, "digits")
    other = tmp_path / "other"
    shutil.copytree(finished.recipe.data, other)
    (other / "blue").rename(other / "up")
    with pytest.raises(fb.InputError, match="up is none of the known classes: blue, green, red"):
        evaluated(finished.folder, other)
    with pytest.raises(fb.InputError, match="name the data"):
        evaluated(Path(shutil.copy(finished.folder / "model.safetensors", tmp_path)))  # one in its run knows it


def test_what_was_recorded_is_what_is_measured(finder: fb.Run, shapes: Path) -> None:
    for data in (None, shapes):
        result: Any = fb.evaluate(finder.folder, data, quiet=True)
        reached = {"ap": result.ap, "ap50": result.ap50, "ap75": result.ap75}
        assert reached == pytest.approx(dict(finder.scores), abs=1e-4)
        assert result.images == 8
    test: Any = fb.evaluate(finder.folder, split="test", quiet=True)
    assert (test.images, test.ap50 > 0.4) == (6, True)
    alone: Any = fb.evaluate(finder.folder, shapes / "test.json", quiet=True)
    assert alone.to_dict() == test.to_dict()
    with pytest.raises(fb.InputError, match="split='all' is not allowed"):
        fb.evaluate(finder.folder, split="all", quiet=True)
