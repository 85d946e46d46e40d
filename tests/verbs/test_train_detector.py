"""A detector's run: it learns, survives interruption to the bit, and is asked by the same verbs as a classifier's."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.boxes import BOXES_MODEL, QUICK_BOXES, SHAPES, SHORT_BOXES, draw_boxes
from helpers.images import draw_classes
from helpers.training import QUICK, history, same_weights, two_processes
from PIL import Image
from safetensors.torch import load_file

import featherbone as fb
from featherbone.evaluation.detection import DetectionPrediction
from featherbone.training.callbacks import History

# all that draws at random, and everything that a checkpoint has to hold
VARIED = {**SHORT_BOXES, "mosaic": 0.5, "scale": 0.4, "color_jitter": 0.2, "multi_scale": 0.5, "workers": 2}


def test_a_detector_learns_and_describes_itself(finder: fb.Run, shapes: Path) -> None:
    assert finder.scores["ap50"] > 0.6
    assert finder.classes == SHAPES
    assert {path.name for path in finder.folder.iterdir()} == {
        *("recipe.json", "data.json", "history.csv", "checkpoints", "tensorboard", "model.safetensors", "result.json"),
        *("run.html", "files.csv", "environment.json", "writer.json", ".lock", "best.safetensors", "batch.png"),
    }
    header = fb.read_header(finder.folder)
    assert isinstance(header.spec, fb.DetectorSpec)
    assert (header.spec.neck, header.spec.head) == (fb.neck_spec("efm"), "free")
    assert header.classes == finder.classes
    assert header.preprocess
    assert (header.preprocess.fit, header.preprocess.size) == ("letterbox", 64)
    rows = history(finder.folder)
    assert len(rows) == QUICK_BOXES["epochs"]
    assert [float(rows[-1][f"val_{name}"]) for name in finder.scores] == pytest.approx(
        list(finder.scores.values()), abs=1e-6
    )
    told = finder.to_dict()
    assert (told["test_ap50"], told["test_images"]) == (finder.scores["ap50"], 8)
    assert [Path(path).parent for path in told["examples"]] == [shapes / "images"] * 8
    json.dumps(told)


@pytest.fixture(scope="module")
def undisturbed(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    return fb.train(shapes, BOXES_MODEL, out=out, changes=VARIED, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["after an epoch", "in the middle of one"])
def test_a_run_that_is_interrupted_ends_as_the_undisturbed_one(
    undisturbed: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    hook = "on_train_epoch_end" if moment == "after an epoch" else "on_train_batch_end"
    before = getattr(History, hook)

    def interrupted(self: History, trainer, *rest) -> None:  # type: ignore[no-untyped-def]
        before(self, trainer, *rest)
        if trainer.global_step == (6 if moment == "after an epoch" else 9):
            os.kill(os.getpid(), signal.SIGINT)

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(fb.InterruptedRunError):
        patch.setattr(History, hook, interrupted)
        fb.train(undisturbed.recipe.data, BOXES_MODEL, out=run, changes=VARIED, quiet=True)
    resumed = fb.resume(run, quiet=True)
    assert same_weights(undisturbed.folder, run)
    assert history(undisturbed.folder) == history(run)
    assert resumed.scores == undisturbed.scores


@pytest.mark.slow
def test_workers_and_seeds(undisturbed: fb.Run, tmp_path: Path) -> None:
    alone = fb.train(undisturbed.recipe.data, recipe=undisturbed.recipe, model=BOXES_MODEL,
                     out=tmp_path / "alone", changes={"workers": 0}, quiet=True)  # fmt: skip
    assert same_weights(undisturbed.folder, alone.folder)
    other = fb.train(undisturbed.recipe.data, BOXES_MODEL, out=tmp_path / "other",
                     changes={**VARIED, "workers": 0, "epochs": 1, "seed": 1}, quiet=True)  # fmt: skip
    again = fb.train(undisturbed.recipe.data, BOXES_MODEL, out=tmp_path / "again",
                     changes={**VARIED, "workers": 0, "epochs": 1}, quiet=True)  # fmt: skip
    assert not same_weights(other.folder, again.folder)


def test_starting_from_a_backbone(shapes: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    fb.save(fb.create_model(BOXES_MODEL, num_classes=5), tmp_path / "backbone.safetensors")
    changes = {**SHORT_BOXES, "epochs": 1, "freeze": ["backbone"], "ema_decay": 0.0}
    run = fb.train(shapes, weights=tmp_path / "backbone.safetensors", out=tmp_path / "run", changes=changes, quiet=True)
    given, trained = load_file(tmp_path / "backbone.safetensors"), load_file(run.folder / "model.safetensors")
    kept = [name for name in trained if name.startswith("backbone.")]
    assert len(kept) > 100
    for name in kept:
        assert torch.equal(trained[name], given[name.removeprefix("backbone.")]), name
    begun = load_file(run.folder / "start.safetensors")
    assert any(not torch.equal(trained[name], begun[name]) for name in trained if name.startswith("neck."))
    with pytest.raises(fb.InputError, match="those of another network than model=vovnet39"):
        fb.train(shapes, "vovnet39", weights=tmp_path / "backbone.safetensors", out=tmp_path / "a", quiet=True)


def test_starting_from_a_classifier_of_small_colourful_images(tmp_path: Path) -> None:
    """Its stem hardly shrinks an image, it reads three channels, and nobody knows how its images were prepared."""
    data = draw_boxes(tmp_path / "shapes", (("train", 4), ("val", 2)), ("thing",))
    for path in (data / "images").iterdir():
        with Image.open(path) as image:
            image.convert("L").save(path)
    fb.save(fb.create_model(BOXES_MODEL, num_classes=5, stem_stride=1), tmp_path / "small.safetensors")
    changes = {**SHORT_BOXES, "epochs": 1}
    run = fb.train(data, weights=tmp_path / "small.safetensors", out=tmp_path / "run", changes=changes, quiet=True)
    header = fb.read_header(run.folder)
    assert (header.spec.in_chans, header.spec.backbone.stem_stride) == (3, 4)  # type: ignore[union-attr]
    assert header.preprocess is not None
    assert header.preprocess.channels == 3


def test_starting_from_a_detector(finder: fb.Run, shapes: Path, tmp_path: Path) -> None:
    changes = {**SHORT_BOXES, "epochs": 1, "lr": 1e-6, "ema_decay": 0.0}
    same = fb.train(shapes, weights=finder.folder, out=tmp_path / "same", changes=changes, quiet=True)
    assert same.scores["ap50"] == pytest.approx(finder.scores["ap50"], abs=0.15)
    assert same.recipe.model == finder.recipe.model
    others = draw_boxes(tmp_path / "others", (("train", 8), ("val", 4)), ("a", "b"))
    fewer = fb.train(others, weights=finder.folder, out=tmp_path / "fewer", changes=changes, quiet=True)
    assert fewer.classes == ("a", "b")
    begun, known = load_file(fewer.folder / "start.safetensors"), load_file(finder.folder / "model.safetensors")
    assert all(torch.equal(begun[name], known[name]) for name in known if not name.startswith("head."))
    with pytest.raises(fb.InputError, match="another neck or head: leave it out"):
        fb.train(shapes, weights=finder.folder, head="anchors", out=tmp_path / "a", changes=changes, quiet=True)
    with pytest.raises(fb.InputError, match="another neck or head: leave it out"):
        fb.train(shapes, weights=finder.folder, neck="fpn", out=tmp_path / "a", changes=changes, quiet=True)


def test_the_head_learns_first(shapes: Path, tmp_path: Path) -> None:
    changes = {**SHORT_BOXES, "epochs": 2, "ema_decay": 0.0, "freeze_epochs": 1, "patience": 2}
    run = fb.train(shapes, BOXES_MODEL, neck="fpn", out=tmp_path / "run", changes=changes, quiet=True)
    assert run.scores["ap"] == max(round(float(row["val_ap"]), 6) for row in history(run.folder))
    first, _ = sorted((run.folder / "checkpoints").glob("[0-9]*.ckpt"))
    state = torch.load(first, weights_only=True, map_location="cpu")["state_dict"]
    torch.manual_seed(run.recipe.seed)
    fresh = fb.read_header(run.folder).spec.build().state_dict()
    moved = {name for name in fresh if not torch.equal(fresh[name], state[f"model.{name}"])}
    assert not [name for name in moved if name.startswith("backbone.")]
    assert [name for name in moved if name.startswith("neck.")]
    assert [name for name in moved if name.startswith("head.")]


def test_what_cannot_be_trained(shapes: Path, finder: fb.Run, tmp_path: Path) -> None:
    def refuses(said: str, data: Path = shapes, **options: Any) -> None:
        with pytest.raises(fb.InputError, match=said):
            fb.train(data, out=tmp_path / "run", quiet=True, **options)
        assert not (tmp_path / "run" / "recipe.json").exists()

    colours = draw_classes(tmp_path / "colours", count=3)
    refuses("neck and head are those of a detector, but .*colours has classes only", colours, neck="efm")
    refuses("neck and head are those of a detector", colours, head="free")
    refuses("mosaic=0.5 is for detection, but the data is for classification", colours, changes={"mosaic": 0.5})
    refuses("is a detector|holds a detector", colours, weights=finder.folder, changes=QUICK)
    refuses("mixup=0.2 is for classification, but the data is for detection", changes={"mixup": 0.2})
    refuses("teacher='.*' is for classification, but the data is for detection", teacher=finder.folder)
    refuses("teacher='a module' is for classification", teacher=torch.nn.Identity())
    refuses("neck 'emf' is unknown.*efm", neck="emf")
    refuses("head='boxes' is not allowed: anchors or free", head="boxes")
    refuses("size=72 is not allowed for this detector: a multiple of 32", changes={**SHORT_BOXES, "size": 72})
    refuses("size=72 is not allowed for this detector", weights=finder.folder, changes={**SHORT_BOXES, "size": 72})
    refuses("freeze='backbon' is not allowed", changes={**SHORT_BOXES, "freeze": ["backbon"]})
    refuses("box_loss='ious' is not allowed", changes={"box_loss": "ious"})


def test_other_boxes_are_other_data(shapes: Path, tmp_path: Path) -> None:
    data = tmp_path / "shapes"
    shutil.copytree(shapes, data)
    run = fb.train(data, BOXES_MODEL, out=tmp_path / "run", changes={**SHORT_BOXES, "epochs": 1}, quiet=True)
    (run.folder / "result.json").unlink()
    assert fb.resume(run.folder, quiet=True).scores == run.scores
    (run.folder / "result.json").unlink()
    content = json.loads((data / "train.json").read_text())
    content["annotations"][0]["bbox"][2] += 1
    (data / "train.json").write_text(json.dumps(content))
    with pytest.raises(fb.InputError, match="not those that the run"):
        fb.resume(run.folder, quiet=True)


def test_a_handful_of_grey_images_is_enough(tmp_path: Path) -> None:
    data = draw_boxes(tmp_path / "shapes", (("all", 4),), ("thing",))
    for path in (data / "images").iterdir():
        with Image.open(path) as image:
            image.convert("L").save(path)
    run = fb.train(
        data / "all.json", BOXES_MODEL, out=tmp_path / "run", changes={**SHORT_BOXES, "epochs": 1}, quiet=True
    )
    assert fb.read_header(run.folder).spec.in_chans == 1
    assert run.test_images == 1
    found, _ = fb.predict(run.folder, run.examples, score=0.0, quiet=True)
    assert isinstance(found[0], DetectionPrediction)
    assert np.isfinite(found[0].found.boxes).all()
    result: Any = fb.evaluate(run.folder, quiet=True)
    assert (result.images, 0 <= result.ap <= 1) == (1, True)


@pytest.mark.slow
@two_processes
def test_two_processes_give_what_one_gives(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batch norms frozen, which would have statistics of their own in every process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    network = fb.DetectorSpec(
        backbone=fb.spec(BOXES_MODEL), neck=fb.neck_spec("fpn"), head="free", num_classes=3
    ).build()
    norms = [name for name, part in network.named_modules() if isinstance(part, torch.nn.BatchNorm2d)]
    changes = {**SHORT_BOXES, "epochs": 2, "batch_size": 8, "lr": 1e-3, "freeze": norms}
    one, two = (
        fb.train(shapes, BOXES_MODEL, neck="fpn", head="free", out=tmp_path / str(devices), changes=changes,
                 devices=devices, quiet=True)
        for devices in (1, 2)
    )  # fmt: skip
    for ours, theirs in zip(history(one.folder), history(two.folder), strict=True):
        assert [float(value) for value in ours.values()] == pytest.approx(list(map(float, theirs.values())), rel=1e-3)
    alone = load_file(one.folder / "model.safetensors")
    for name, tensor in load_file(two.folder / "model.safetensors").items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-2, atol=1e-4)
