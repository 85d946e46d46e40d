"""What verbs write says who made it, so that it is written anew without asking, and what others made is not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli import Cli
from helpers.families import tiny

import featherbone as fb
from featherbone.report.pictures.confusion import draw_confusion
from featherbone.weights import load

THEIRS = "somebody's own"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_pictures_are_drawn_anew_over_their_own_kind_only(suffix: str, tmp_path: Path) -> None:
    write_twice(
        tmp_path / f"a.{suffix}",
        lambda path, overwrite: draw_confusion(np.eye(2, dtype=int), ("a", "b"), path, overwrite=overwrite),
    )


def test_weights_are_saved_anew_over_their_own_kind_only(tmp_path: Path) -> None:
    model = tiny(num_classes=2)
    write_twice(tmp_path / "a.safetensors", lambda path, overwrite: fb.save(model, path, overwrite=overwrite))


def write_twice(path: Path, write: Callable[..., None]) -> None:
    """Write over somebody's file, which is refused unless asked, and then over one's own."""
    path.write_text(THEIRS)
    with pytest.raises(fb.InputError, match="exists and was not made by featherbone"):
        write(path, overwrite=False)
    assert path.read_text() == THEIRS
    write(path, overwrite=True)
    write(path, overwrite=False)
    assert THEIRS.encode() not in path.read_bytes()


def test_pages_and_drawings_of_verbs_keep_what_others_made(
    cli: Cli, finder: fb.Run, shapes: Path, colours: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finder.folder, run)
    image = next(path for path in sorted(shapes.rglob("*.png")))
    drawn = tmp_path / "drawn" / f"{image.stem}.jpg"
    drawn.parent.mkdir()
    for path, command in (
        (tmp_path / "data.html", ("data", "check", colours, "--out", tmp_path / "data.html")),
        (drawn, ("predict", run, image, "--out", drawn.parent)),
        (tmp_path / "recall.png", ("evaluate", run, shapes, "--out", tmp_path / "recall.png")),
    ):
        path.write_text(THEIRS)
        code, _, err = cli(*command)
        assert code == 2
        assert "was not made by featherbone" in err
        assert path.read_text() == THEIRS
        assert cli(*command, "--overwrite")[0] == 0
        assert cli(*command)[0] == 0


def test_weights_without_numbers_give_no_answers(cli: Cli, finished: fb.Run, finder: fb.Run, tmp_path: Path) -> None:
    for run in (finished, finder):
        header, model = fb.read_header(run.folder), load(run.folder)
        images = run.recipe.data
        for name, value in (("nan", torch.nan), ("huge", 1e38)):
            file = tmp_path / f"{header.spec.network}-{name}.safetensors"
            for parameter in model.parameters():
                parameter.data.fill_(value)
            fb.save(model, file, classes=header.classes, preprocess=header.preprocess, task=header.task)
            for command in (("predict", file, images), ("evaluate", file, images)):
                code, out, err = cli(*command, "--json")
                assert (code, out) == (2, "")
                assert "NaN or infinity" in err
        code, _, err = cli("export", tmp_path / f"{header.spec.network}-nan.safetensors", "--out", tmp_path / "m.onnx")
        assert code == 2
        assert "NaN or infinity" in err
    assert not (tmp_path / "m.onnx").exists()
