"""A detector's run: it learns, survives interruption to the bit, and is asked by the same verbs as a classifier's."""

import json
import os
import shutil
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.boxes import QUICK_BOXES, SHAPES, draw_boxes
from helpers.images import draw_classes
from helpers.training import QUICK, history, same_weights, two_processes
from PIL import Image
from safetensors.torch import load_file
from torchvision.ops import box_iou
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli.app import app
from featherbone.data.box_transforms import evaluation_boxes
from featherbone.data.loader import BoxPipeline, loader
from featherbone.data.open import DETECTION
from featherbone.data.video import Frame, writing
from featherbone.detect.assignment import Targets
from featherbone.detect.losses import detection_loss
from featherbone.evaluation.detection import DetectionPrediction
from featherbone.training.callbacks import History

MODEL = "shufflenet_v2_x0_5"
SHORT = {**QUICK_BOXES, "epochs": 3}
# all that draws at random, and everything that a checkpoint has to hold
VARIED = {**SHORT, "mosaic": 0.5, "scale": 0.4, "color_jitter": 0.2, "multi_scale": 0.5, "workers": 2}


def weights(run: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(run / name)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_boxes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def finder(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """A detector that has learned to find the rectangles."""
    out = tmp_path_factory.mktemp("finder") / "run"
    return fb.train(shapes, MODEL, head="free", out=out, changes=QUICK_BOXES, quiet=True)


def test_a_detector_learns_and_describes_itself(finder: fb.Run, shapes: Path) -> None:
    assert finder.scores["ap50"] > 0.6
    assert finder.classes == SHAPES
    assert {path.name for path in finder.folder.iterdir()} == {
        *("recipe.json", "data.json", "history.csv", "checkpoints", "tensorboard", "model.safetensors", "result.json"),
        "run.html",
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


def test_mirrored_and_resized_images_have_mirrored_and_resized_boxes(
    finder: fb.Run, shapes: Path, tmp_path: Path
) -> None:
    """It has learned from mirrored ones; a letterbox makes all sizes one."""
    overlaps: list[float] = []
    for path in sorted((shapes / "images").glob("test-*.png")):
        with Image.open(path) as image:
            width, height = image.size
            larger = image.resize((3 * width, 3 * height), Image.Resampling.BILINEAR)
            mirror = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            files = [tmp_path / f"{i}-{path.name}" for i in range(3)]
            for file, one in zip(files, (image, larger, mirror), strict=True):
                one.save(file)
        answers: Any = fb.predict(finder.folder, files, score=0.2, quiet=True)[0]
        sure = zip(answers, (0.5, 0.2, 0.2), strict=True)  # what is sure of one is at least thought of in the others
        whole, large, turned = (torch.from_numpy(one.found.above(least).boxes) for one, least in sure)
        if not len(whole):
            continue
        turned = torch.stack((width - turned[:, 2], turned[:, 1], width - turned[:, 0], turned[:, 3]), 1)
        assert box_iou(whole, large / 3).amax(1).min() > 0.8
        overlaps += box_iou(whole, turned).amax(1).tolist()
    assert len(overlaps) > 5
    assert sum(overlaps) / len(overlaps) > 0.5  # its strides begin at the left, and it has learned for seconds only


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
    with pytest.raises(fb.InputError, match="split='all' is not there"):
        fb.evaluate(finder.folder, split="all", quiet=True)


def test_the_loss_is_divided_by_how_many_boxes_an_image_has(finder: fb.Run, shapes: Path) -> None:
    """The same number for images that are learned from and for those that are held out."""
    data = DETECTION.open(shapes, quiet=True)
    boxes = [len(truth.boxes) for truth in data.train.targets]
    detector, preprocess = fb.load(finder.folder, fb.Detector), fb.read_header(finder.folder).preprocess
    assert preprocess is not None
    losses = []
    for images, targets in loader(
        data.val, BoxPipeline(evaluation_boxes(preprocess)), channels=3, batch_size=8, workers=0
    ):
        with torch.no_grad():
            raw = detector.raw(images)
        truths = Targets(*targets[:3])
        losses += detection_loss(detector.head, raw, truths, (64, 64), boxes_per_image=sum(boxes) / 24).tolist()
    best = max(history(finder.folder), key=lambda row: float(row["val_ap"]))
    assert float(best["val_loss"]) == pytest.approx(sum(losses) / 8, rel=1e-4)


def test_a_detector_is_asked_on_the_command_line(finder: fb.Run, shapes: Path, tmp_path: Path) -> None:
    def asked(*words: object) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    measured = asked("evaluate", finder.folder, "--split", "test", "--out", tmp_path / "confusion.png")
    assert measured["images"] == 6
    assert Path(measured["picture"]) == tmp_path / "confusion.png"
    assert Path(measured["confusion_picture"]) == tmp_path / "confusion-confusion.png"
    assert all(Path(measured[name]).exists() for name in ("picture", "confusion_picture"))
    (tmp_path / "broken.png").touch()
    images = [shapes / "images" / f"test-{i:02}.png" for i in range(5)]
    said = asked(
        "predict", finder.folder, *images, tmp_path / "broken.png", "--score", 0.2, "--out", tmp_path / "drawn"
    )
    truths = json.loads((shapes / "test.json").read_text())["annotations"]
    hits = 0
    for i, (path, one) in enumerate(zip(images, said["predictions"], strict=True)):
        assert one["image"] == str(path)
        with Image.open(path) as image, Image.open(one["picture"]) as drawn:
            assert drawn.size == image.size == (one["width"], one["height"])
            far = np.abs(np.asarray(drawn.convert("RGB"), int) - np.asarray(image.convert("RGB"), int)).max()
            assert (far > 100) == bool(one["boxes"])
        scores = [box["score"] for box in one["boxes"]]
        assert scores == sorted(scores, reverse=True)
        assert min(scores, default=1) >= 0.2
        for truth in (t for t in truths if t["image_id"] == i):
            x, y, w, h = truth["bbox"]
            middle = (x + w / 2, y + h / 2)
            named = [b["box"] for b in one["boxes"] if b["class"] == SHAPES[truth["category_id"] - 1]]
            hits += any(a < middle[0] < c and b < middle[1] < d for a, b, c, d in named)
    assert hits / sum(t["image_id"] < 5 for t in truths) > 0.6
    assert said["skipped"] == [{"path": str(tmp_path / "broken.png"), "reason": "the file is empty"}]
    table = CliRunner().invoke(app, ["predict", str(finder.folder), str(images[0]), "--out", str(tmp_path / "drawn")])
    assert (table.exit_code, "drawn in" in table.output) == (0, True)


def film(path: Path, photo: Path, frames: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    with writing(path, Fraction(10)) as append, Image.open(photo) as image:
        for i in range(frames):
            append(Frame(image.copy(), Fraction(i, 10)))
    return path


def test_videos_are_asked_on_the_command_line(finder: fb.Run, shapes: Path, tmp_path: Path) -> None:
    photo = shapes / "images" / "test-00.png"
    films = [film(tmp_path / place / "clip.mp4", photo, frames) for place, frames in (("a", 2), ("b", 3))]
    words = ["predict", finder.folder, tmp_path / "?" / "*.mp4", photo, "--score", 0.2, "--out", tmp_path / "drawn"]
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert len(said["predictions"]) == 1
    assert [one["video"] for one in said["videos"]] == [str(path) for path in films]
    assert [Path(one["picture"]).name for one in said["videos"]] == ["clip.mp4", "clip-2.mp4"]
    assert [[frame["image"] for frame in one["frames"]] for one in said["videos"]] == [
        ["frame 1", "frame 2"], ["frame 1", "frame 2", "frame 3"]]  # fmt: skip
    assert all(Path(one["picture"]).stat().st_size > 500 for one in said["videos"])
    with pytest.raises(fb.InputError, match=r"score=5 is not allowed: from 0 to 1"):
        fb.detect_video(finder.folder, films[0], tmp_path / "more.mp4", score=5)


def test_what_is_drawn_never_replaces_what_was_read(finder: fb.Run, shapes: Path, tmp_path: Path) -> None:
    with Image.open(shapes / "images" / "test-00.png") as image:
        image.save(tmp_path / "photo.jpg")
    paths = tmp_path / "photo.jpg", film(tmp_path / "clip.mp4", tmp_path / "photo.jpg", 2)
    before = [path.read_bytes() for path in paths]
    for path in paths:
        done = CliRunner().invoke(app, ["predict", str(finder.folder), str(path), "--out", str(tmp_path)])
        assert isinstance(done.exception, fb.InputError)
        assert "would be replaced by its own drawing" in str(done.exception)
    with pytest.raises(fb.InputError, match="replaced by its own drawing"):
        fb.detect_video(finder.folder, paths[1], tmp_path / "." / "clip.mp4")
    assert [path.read_bytes() for path in paths] == before


def test_a_detector_is_trained_on_the_command_line(shapes: Path, tmp_path: Path) -> None:
    words = [
        "train",
        shapes,
        "--model",
        MODEL,
        "--neck",
        "fpn",
        "--head",
        "anchors",
        "--epochs",
        1,
        "--size",
        64,
        "--batch-size",
        8,
    ]
    words += ["--precision", "f32", "--workers", 0, "--set", "channels_last=true", "--out", tmp_path / "run", "--quiet"]
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    assert "held-out AP" in done.output
    row: Any = fb.read_header(tmp_path / "run").spec
    assert (row.neck, row.head) == (fb.neck_spec("fpn"), "anchors")
    areas = [w * h for scale in row.anchors for w, h in scale]
    assert areas == sorted(areas)
    assert 10 < areas[0] ** 0.5 < areas[-1] ** 0.5 < 64  # the rectangles', in pixels of the input


@pytest.fixture(scope="module")
def undisturbed(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    return fb.train(shapes, MODEL, out=out, changes=VARIED, quiet=True)


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
        fb.train(undisturbed.recipe.data, MODEL, out=run, changes=VARIED, quiet=True)
    resumed = fb.resume(run, quiet=True)
    assert same_weights(undisturbed.folder, run)
    assert history(undisturbed.folder) == history(run)
    assert resumed.scores == undisturbed.scores


def test_workers_and_seeds(undisturbed: fb.Run, tmp_path: Path) -> None:
    alone = fb.train(undisturbed.recipe.data, recipe=undisturbed.recipe, model=MODEL,
                     out=tmp_path / "alone", changes={"workers": 0}, quiet=True)  # fmt: skip
    assert same_weights(undisturbed.folder, alone.folder)
    other = fb.train(undisturbed.recipe.data, MODEL, out=tmp_path / "other",
                     changes={**VARIED, "workers": 0, "epochs": 1, "seed": 1}, quiet=True)  # fmt: skip
    again = fb.train(undisturbed.recipe.data, MODEL, out=tmp_path / "again",
                     changes={**VARIED, "workers": 0, "epochs": 1}, quiet=True)  # fmt: skip
    assert not same_weights(other.folder, again.folder)


def test_starting_from_a_backbone(shapes: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    fb.save(fb.create_model(MODEL, num_classes=5), tmp_path / "backbone.safetensors")
    changes = {**SHORT, "epochs": 1, "freeze": ["backbone"], "ema_decay": 0.0}
    run = fb.train(shapes, weights=tmp_path / "backbone.safetensors", out=tmp_path / "run", changes=changes, quiet=True)
    given, trained = weights(tmp_path, "backbone.safetensors"), weights(run.folder)
    kept = [name for name in trained if name.startswith("backbone.")]
    assert len(kept) > 100
    for name in kept:
        assert torch.equal(trained[name], given[name.removeprefix("backbone.")]), name
    begun = weights(run.folder, "start.safetensors")
    assert any(not torch.equal(trained[name], begun[name]) for name in trained if name.startswith("neck."))
    with pytest.raises(fb.InputError, match="those of another network than model=vovnet39"):
        fb.train(shapes, "vovnet39", weights=tmp_path / "backbone.safetensors", out=tmp_path / "a", quiet=True)


def test_starting_from_a_classifier_of_small_colourful_images(tmp_path: Path) -> None:
    """Its stem hardly shrinks an image, it reads three channels, and nobody knows how its images were prepared."""
    data = draw_boxes(tmp_path / "shapes", (("train", 4), ("val", 2)), ("thing",))
    for path in (data / "images").iterdir():
        with Image.open(path) as image:
            image.convert("L").save(path)
    fb.save(fb.create_model(MODEL, num_classes=5, stem_stride=1), tmp_path / "small.safetensors")
    changes = {**SHORT, "epochs": 1}
    run = fb.train(data, weights=tmp_path / "small.safetensors", out=tmp_path / "run", changes=changes, quiet=True)
    header = fb.read_header(run.folder)
    assert (header.spec.in_chans, header.spec.backbone.stem_stride) == (3, 4)  # type: ignore[union-attr]
    assert header.preprocess is not None
    assert header.preprocess.channels == 3


def test_starting_from_a_detector(finder: fb.Run, shapes: Path, tmp_path: Path) -> None:
    changes = {**SHORT, "epochs": 1, "lr": 1e-6, "ema_decay": 0.0}
    same = fb.train(shapes, weights=finder.folder, out=tmp_path / "same", changes=changes, quiet=True)
    assert same.scores["ap50"] == pytest.approx(finder.scores["ap50"], abs=0.15)
    assert same.recipe.model == finder.recipe.model
    others = draw_boxes(tmp_path / "others", (("train", 8), ("val", 4)), ("a", "b"))
    fewer = fb.train(others, weights=finder.folder, out=tmp_path / "fewer", changes=changes, quiet=True)
    assert fewer.classes == ("a", "b")
    begun, known = weights(fewer.folder, "start.safetensors"), weights(finder.folder)
    assert all(torch.equal(begun[name], known[name]) for name in known if not name.startswith("head."))
    with pytest.raises(fb.InputError, match="another neck or head: leave it out"):
        fb.train(shapes, weights=finder.folder, head="anchors", out=tmp_path / "a", changes=changes, quiet=True)
    with pytest.raises(fb.InputError, match="another neck or head: leave it out"):
        fb.train(shapes, weights=finder.folder, neck="fpn", out=tmp_path / "a", changes=changes, quiet=True)


def test_the_head_learns_first(shapes: Path, tmp_path: Path) -> None:
    changes = {**SHORT, "epochs": 2, "ema_decay": 0.0, "freeze_epochs": 1, "patience": 1}
    run = fb.train(shapes, MODEL, neck="fpn", out=tmp_path / "run", changes=changes, quiet=True)
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
    refuses("mosaic=0.5 is for detectors, but the data has classes only", colours, changes={"mosaic": 0.5})
    refuses("is a detector|holds a detector", colours, weights=finder.folder, changes=QUICK)
    refuses("mixup=0.2 is for classifiers, but the data has boxes", changes={"mixup": 0.2})
    refuses("teacher='.*' is for classifiers, but the data has boxes", teacher=finder.folder)
    refuses("teacher='a module' is for classifiers", teacher=torch.nn.Identity())
    refuses("neck 'emf' is unknown.*efm", neck="emf")
    refuses("head='boxes' is not allowed: anchors or free", head="boxes")
    refuses("size=72 is not allowed for this detector: a multiple of 32", changes={**SHORT, "size": 72})
    refuses("size=72 is not allowed for this detector", weights=finder.folder, changes={**SHORT, "size": 72})
    refuses("freeze='backbon' is not allowed", changes={**SHORT, "freeze": ["backbon"]})
    refuses("box_loss='ious' is not allowed", changes={"box_loss": "ious"})


def test_what_a_detector_cannot_be_asked(finder: fb.Run, shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="is no detection data set"):
        fb.evaluate(finder.folder, draw_classes(tmp_path / "colours", count=2), quiet=True)
    others = draw_boxes(tmp_path / "others", (("val", 2),), ("red", "x", "y"))
    with pytest.raises(fb.InputError, match="is none of the known classes: blue, green, red"):
        fb.evaluate(finder.folder, others, quiet=True)
    with pytest.raises(fb.InputError, match=r"score=1.5 is not allowed: from 0 to 1"):
        fb.predict(finder.folder, [shapes], score=1.5)
    with pytest.raises(fb.InputError, match="holds a detector, not a classifier"):
        fb.load(finder.folder)


def test_other_boxes_are_other_data(shapes: Path, tmp_path: Path) -> None:
    data = tmp_path / "shapes"
    shutil.copytree(shapes, data)
    run = fb.train(data, MODEL, out=tmp_path / "run", changes={**SHORT, "epochs": 1}, quiet=True)
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
    run = fb.train(data / "all.json", MODEL, out=tmp_path / "run", changes={**SHORT, "epochs": 1}, quiet=True)
    assert fb.read_header(run.folder).spec.in_chans == 1
    assert run.test_images == 1
    found, _ = fb.predict(run.folder, run.examples, score=0.0, quiet=True)
    assert isinstance(found[0], DetectionPrediction)
    assert np.isfinite(found[0].found.boxes).all()
    result: Any = fb.evaluate(run.folder, quiet=True)
    assert (result.images, 0 <= result.ap <= 1) == (1, True)


@two_processes
def test_two_processes_give_what_one_gives(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batch norms frozen, which would have statistics of their own in every process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    network = fb.DetectorSpec(backbone=fb.spec(MODEL), neck=fb.neck_spec("fpn"), head="free", num_classes=3).build()
    norms = [name for name, part in network.named_modules() if isinstance(part, torch.nn.BatchNorm2d)]
    changes = {**SHORT, "epochs": 2, "batch_size": 8, "lr": 1e-3, "freeze": norms}
    one, two = (
        fb.train(shapes, MODEL, neck="fpn", head="free", out=tmp_path / str(devices), changes=changes,
                 devices=devices, quiet=True)
        for devices in (1, 2)
    )  # fmt: skip
    for ours, theirs in zip(history(one.folder), history(two.folder), strict=True):
        assert [float(value) for value in ours.values()] == pytest.approx(list(map(float, theirs.values())), rel=1e-3)
    alone = weights(one.folder)
    for name, tensor in weights(two.folder).items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-2, atol=1e-4)
