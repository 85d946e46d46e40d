"""The verbs on the command line, asked of a detector."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.boxes import BOXES_MODEL, SHAPES
from helpers.images import film
from PIL import Image
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli.app import app


def test_a_detector_is_asked_on_the_command_line(finder: fb.Run, shapes: Path, tmp_path: Path) -> None:
    def asked(*words: object) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    measured = asked("evaluate", finder.folder, "--split", "test", "--out", tmp_path / "confusion.png")
    assert measured["images"] == 6
    pictures = {kind: Path(path) for kind, path in measured["pictures"].items()}
    assert pictures == {
        "precision_recall": tmp_path / "confusion.png", "confusion": tmp_path / "confusion-confusion.png"}  # fmt: skip
    assert all(path.exists() for path in pictures.values())
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
    assert said["skipped"] == [{"path": str(tmp_path / "broken.png"), "reason": "the file is empty", "files": 1}]
    table = CliRunner().invoke(app, ["predict", str(finder.folder), str(images[0]), "--out", str(tmp_path / "drawn")])
    assert (table.exit_code, "drawn in" in table.output) == (0, True)


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


def test_a_detector_is_trained_on_the_command_line(shapes: Path, tmp_path: Path) -> None:
    words = [
        "train",
        shapes,
        "--model",
        BOXES_MODEL,
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
