"""A run is determined by its recipe, survives interruption to the bit, and describes itself."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training import QUICK, classified, evaluated, history, same_weights
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, confusion_matrix

import featherbone as fb
from featherbone.data.sources.scikit_learn import digits
from featherbone.report.pictures.confusion import draw_confusion
from featherbone.training import autotune as compute
from featherbone.training import classification_recipe
from featherbone.training.callbacks import History


def test_a_run_learns_and_describes_itself(finished: fb.Run) -> None:
    assert finished.test_top1 > 0.8
    assert finished.classes == ("blue", "green", "red")
    files = {p.name for p in finished.folder.iterdir()}
    assert files == {
        "recipe.json",
        "data.json",
        "history.csv",
        "checkpoints",
        "tensorboard",
        "model.safetensors",
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


def test_the_saved_recipe_is_the_whole_run(finished: fb.Run, tmp_path: Path) -> None:
    stored = json.loads((finished.folder / "recipe.json").read_text())
    recipe = fb.Recipe.from_dict(stored)
    assert recipe == finished.recipe
    assert recipe.to_dict() == stored
    again = fb.train(recipe.data, out=tmp_path / "again", recipe=recipe, quiet=True)
    assert same_weights(finished.folder, again.folder)
    other = fb.train(recipe.data, out=tmp_path / "other", recipe=recipe, changes={"seed": 1}, quiet=True)
    assert not same_weights(finished.folder, other.folder)


@pytest.mark.parametrize("moment", ["after the epoch", "in the middle of the next"])
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
    def refuses(said: str, **options: object) -> None:
        with pytest.raises(fb.InputError, match=said):
            fb.train(colours, quiet=True, **options)  # type: ignore[arg-type]

    refuses("holds a run already", out=finished.folder)
    refuses("is a file", out=colours / "blue" / "00.png")
    refuses("recipe column 'epoch' is unknown.*epochs", out=tmp_path / "a", changes={"epoch": 3})
    refuses("epochs=0", out=tmp_path / "a", changes={"epochs": 0})
    refuses("lr=-1", out=tmp_path / "a", changes={"lr": -1})
    refuses("size=4 is too small", out=tmp_path / "a", changes={"size": 4})
    refuses("model 'resnet50' is unknown", out=tmp_path / "a", model="resnet50")
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

    monkeypatch.setattr("featherbone.data.assemble.look_at", refused)
    again = fb.resume(run.folder, quiet=True)
    assert again.skipped == run.skipped
    assert again.test_top1 == run.test_top1


def test_a_loss_that_explodes_is_said(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="the loss became .* lower lr"):
        fb.train(colours, out=tmp_path / "run", changes={**QUICK, "lr": 1e30, "epochs": 2}, quiet=True)


def test_broken_files_are_listed_at_the_end(colours: Path, tmp_path: Path) -> None:
    (colours / "blue" / "notes.txt").write_text("no picture")
    run = fb.train(colours, out=tmp_path / "run", changes={**QUICK, "epochs": 1}, quiet=True)
    assert [(file.path, file.reason) for file in run.skipped] == [(str(Path("blue", "notes.txt")), "not an image")]


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
        evaluated(finished.folder / "model.safetensors")


def test_the_confusion_matrix_is_a_picture(finished: fb.Run, tmp_path: Path) -> None:
    many = np.eye(40, dtype=np.int64)
    draw_confusion(many, [f"class {i}" for i in range(40)], tmp_path / "many.png")
    result = evaluated(finished.folder)
    draw_confusion(result.confusion, finished.classes, tmp_path / "few.png")
    draw_confusion(np.eye(3, dtype=np.int64), ["$_$", "cost $5 to $10"], tmp_path / "odd.png")
    for name in ("many", "few", "odd"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 20


def test_predictions(finished: fb.Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    image = Path(finished.recipe.data) / "green" / "00.png"
    found, skipped = classified(finished.folder, [image, broken], top=2)
    assert len(found[0].classes) == 2
    assert found[0].probabilities[0] > found[0].probabilities[1]
    assert [(file.path, file.reason) for file in skipped] == [(str(broken), "the file is empty")]
    with pytest.raises(fb.InputError, match="none of the 1 files can be read"):
        classified(finished.folder, [broken])
    with pytest.raises(fb.InputError, match="top=0"):
        fb.predict(finished.folder, [image], top=0)


def test_predictions_do_not_depend_on_company_or_order(finished: fb.Run) -> None:
    paths = sorted(Path(finished.recipe.data).glob("*/0*.png"))
    together, _ = classified(finished.folder, paths)
    alone = [classified(finished.folder, [path])[0][0] for path in paths[:3]]
    assert together[:3] == alone


def test_the_faster_way_to_compute_is_measured_and_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {("f32", True): 3.0, ("f32", False): 2.0, ("bf16", True): 1.0}
    monkeypatch.setattr(compute, "_step_seconds", lambda model, shape, candidate: seconds[candidate])
    model = fb.create_model("shufflenet_v2_x0_5")
    recipe, data = fb.Recipe(size=32), digits()
    found = compute.resolve(recipe, model, data)
    assert (found.precision, found.channels_last) == ("bf16", True)
    found = compute.resolve(recipe.changed({"precision": "f32"}), model, data)
    assert (found.precision, found.channels_last) == ("f32", False)
    found = compute.resolve(recipe.changed({"channels_last": False, "precision": "bf16"}), model, data)
    assert (found.precision, found.channels_last) == ("bf16", False)


def test_measuring_leaves_model_and_generator_as_they_were() -> None:
    model = fb.create_model("shufflenet_v2_x0_5").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    chosen = compute.fastest(model, (2, 3, 32, 32), compute.CANDIDATES, torch.device("cpu"))
    assert chosen in compute.CANDIDATES
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_recipe_suits_the_data() -> None:
    assert classification_recipe("digits", 16).flip == 0.0
    assert classification_recipe("photos", 32).crop_pct == 1.0
    assert classification_recipe("photos", 224).crop_pct == 0.875


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"warmup": 1.0},
        {"crop_min": 0.0},
        {"flip": 1.5},
        {"precision": "fp8"},
        {"weight_decay": -1.0},
        {"val_fraction": 1.0},
        {"workers": -1},
    ],
)
def test_wrong_recipes_are_refused(wrong: dict[str, object]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(fb.InputError, match=f"{name}={value!r} is not allowed"):
        fb.Recipe.from_dict(wrong)
