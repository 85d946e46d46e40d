"""What is predicted depends on the image alone, for classes and for boxes; what cannot be asked is said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.boxes import draw_boxes
from helpers.images import draw_classes, film
from helpers.training import classified
from PIL import Image
from torchvision.ops import box_iou
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli.app import app


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


def test_mirrored_and_resized_images_have_mirrored_and_resized_boxes(
    finder: fb.Run, shapes: Path, tmp_path: Path
) -> None:
    """It has learned from mirrored ones; a letterbox makes all sizes one."""
    listed = json.loads((shapes / "test.json").read_text())
    found = {"as it is": 0, "larger": 0, "mirrored": 0}
    for row in listed["images"]:
        path = shapes / "images" / Path(row["file_name"]).name
        with Image.open(path) as image:
            width, height = image.size
            versions = (
                image.copy(),
                image.resize((3 * width, 3 * height), Image.Resampling.BILINEAR),
                image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            )
        files = [tmp_path / f"{i}-{path.name}" for i in range(3)]
        for file, one in zip(files, versions, strict=True):
            one.save(file)
        answers: Any = fb.predict(finder.folder, files, score=0.2, quiet=True)[0]
        whole, large, turned = (torch.from_numpy(one.found.above(0.2).boxes) for one in answers)
        turned = torch.stack((width - turned[:, 2], turned[:, 1], width - turned[:, 0], turned[:, 3]), 1)
        for one in (note for note in listed["annotations"] if note["image_id"] == row["id"]):
            x, y, w, h = one["bbox"]
            annotated = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32)
            for version, boxes in zip(found, (whole, large / 3, turned), strict=True):
                found[version] += bool((box_iou(annotated, boxes.float()) > 0.3).any())
    annotations = len(listed["annotations"])
    assert annotations > 5
    assert found["as it is"] > 0.6 * annotations, found
    assert abs(found["larger"] - found["as it is"]) <= max(1, 0.1 * annotations), found
    assert found["mirrored"] > 0.5 * annotations, found  # its strides begin at the left


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


def test_what_a_detector_cannot_be_asked(finder: fb.Run, shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="is no detection data set"):
        fb.evaluate(finder.folder, draw_classes(tmp_path / "colours", count=2), quiet=True)
    others = draw_boxes(tmp_path / "others", (("val", 2),), ("red", "x", "y"))
    with pytest.raises(fb.InputError, match="is none of the known classes: blue, green, red"):
        fb.evaluate(finder.folder, others, quiet=True)
    with pytest.raises(fb.InputError, match=r"score=1.5 is not allowed: from 0 to 1"):
        fb.predict(finder.folder, [shapes], score=1.5)
    with pytest.raises(fb.InputError, match="holds a detector, not a classifier"):
        fb.load(finder.folder, fb.Backbone)
