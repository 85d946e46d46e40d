"""A run is what it read and where it was computed: what has changed since it began is refused, or named."""

import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli import Cli
from helpers.images import draw_classes
from helpers.training import same_weights
from PIL import Image

import featherbone as fb
from featherbone.data.open import CLASSIFICATION
from featherbone.runs.folder import DATA
from featherbone.runs.identity import changed_files, changed_images, threads_of, write_environment, write_files


@pytest.fixture
def stopped(finished: fb.Run, tmp_path: Path) -> Path:
    """A run that was killed after its last checkpoint, on images of its own."""
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    shutil.copytree(finished.recipe.data, tmp_path / "colours")
    for name in ("result.json", "model.safetensors", "run.html"):
        (run / name).unlink()
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**recipe, "data": str(tmp_path / "colours")}))
    return run


def replaced(image: Path) -> None:
    """Write another file of the same size, at what is said to be the same time; its last byte is no pixel's."""
    before = image.stat()
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (image.stat().st_size, image.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_images_that_were_moved_and_touched_are_the_same(stopped: Path, finished: fb.Run) -> None:
    for image in stopped.parent.glob("colours/*/*.png"):
        image.touch()
    assert same_weights(finished.folder, fb.resume(stopped, quiet=True).folder)


def test_a_change_is_refused_and_named_or_accepted_and_named(stopped: Path, cli: Cli) -> None:
    replaced(stopped.parent / "colours" / "blue" / "03.png")
    environment = json.loads((stopped / "environment.json").read_text())
    environment["values"]["torch"] = "1.0"
    (stopped / "environment.json").write_text(json.dumps(environment))
    changes = ("1 file has changed (blue/03.png)", f"torch 1.0 -> {torch.__version__}")
    own = ("writer.json", ".lock")
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file() and path.name not in own}
    code, _, said = cli("train", "--resume", stopped, "--quiet")
    assert code == 2
    assert f"would not go on as it began: {'; '.join(changes)}; " in said
    assert "--accept-changes" in said
    assert before == {path: path.read_bytes() for path in before}
    code, said, _ = cli("train", "--resume", stopped, "--quiet", "--accept-changes")
    assert code == 0
    for change in changes:
        assert change in " ".join(said.split())
    assert json.loads((stopped / "result.json").read_text())["changes"] == list(changes)
    assert changes[0] in (stopped / "run.html").read_text()
    assert changed_files(stopped, opened(stopped), fb.Recipe(), quiet=True) == []


def opened(run: Path) -> fb.data.dataset.ClassificationData:
    return CLASSIFICATION.open(run.parent / "colours", quiet=True)


def test_images_that_are_gone_or_new_cannot_be_accepted(stopped: Path) -> None:
    colours = stopped.parent / "colours"
    (colours / "blue" / "00.png").rename(colours / "blue" / "new.png")
    said = r"not those that the run .* began with: 1 file is gone \(blue/00.png\); 1 file is new \(blue/new.png\)$"
    with pytest.raises(fb.InputError, match=said):
        fb.resume(stopped, accept_changes=True, quiet=True)


def test_a_page_is_not_drawn_of_other_images(finished: fb.Run, stopped: Path) -> None:
    for name in ("result.json", "model.safetensors"):
        shutil.copy(finished.folder / name, stopped)
    replaced(next(stopped.parent.glob("colours/*/*.png")))
    page = fb.run_page(stopped, quiet=True).read_text()
    assert "not those that the run was trained on: 1 file has changed" in page


def test_evaluating_on_other_images_than_those_held_out_warns(finished: fb.Run, stopped: Path) -> None:
    for name in ("result.json", "model.safetensors"):
        shutil.copy(finished.folder / name, stopped)
    assert fb.evaluate(stopped, quiet=True)
    replaced(stopped.parent / "colours" / "red" / "00.png")
    with pytest.warns(
        UserWarning, match=r"1 file has changed \(red/00.png\)\): of those .* may have been learned from"
    ):
        fb.evaluate(stopped, quiet=True)


def test_a_replaced_teacher_and_archive_are_named(tmp_path: Path) -> None:
    draw_classes(tmp_path / "colours", count=4)
    for split in ("train", "val"):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as archive:
            for number, image in enumerate(sorted((tmp_path / "colours").glob("*/*.png"))):
                archive.add(image, f"{number}.png")
                label = tmp_path / "label.cls"
                label.write_text(str(number // 4))
                archive.add(label, f"{number}.cls")
    (tmp_path / "teacher").mkdir()
    teacher = tmp_path / "teacher" / "model.safetensors"
    teacher.write_bytes(b"one")
    (tmp_path / "start.safetensors").write_bytes(b"weights")
    recipe = fb.Recipe(teacher=str(teacher.parent))
    images = CLASSIFICATION.open(tmp_path / "{train,val}.tar", quiet=True)
    write_files(tmp_path, images, recipe, quiet=True)
    assert changed_files(tmp_path, images, recipe, quiet=True) == []
    teacher.write_bytes(b"two")
    (tmp_path / "start.safetensors").unlink()
    with (tmp_path / "val.tar").open("ab") as archive_end:
        archive_end.write(b"\0")
    assert changed_images(tmp_path, images, quiet=True) == ["1 file has changed (val.tar)"]
    assert changed_files(tmp_path, images, recipe, quiet=True) == [
        "1 file is gone (weights start.safetensors)",
        f"2 files have changed (val.tar, teacher {teacher.parent})",
    ]
    teacher.unlink()
    with pytest.raises(fb.InputError, match="teacher .* can no longer be read"):
        changed_files(tmp_path, images, recipe, quiet=True)


def test_only_files_that_were_changed_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = draw_classes(tmp_path / "colours", count=4)
    odd = colours / "red" / os.fsdecode(b'"\xff,\n\x1b".png')
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(odd)
    images = CLASSIFICATION.open(colours, quiet=True)
    write_files(tmp_path, images, fb.Recipe(), quiet=True)
    read: list[Path] = []

    def digest(path: Path) -> str:
        read.append(path)
        return "0"

    monkeypatch.setattr("featherbone.runs.identity.digest", digest)
    assert changed_images(tmp_path, images, quiet=True) == []
    assert not read
    replaced(odd)
    assert changed_images(tmp_path, images, quiet=True) == [r'1 file has changed (red/"\xff,\n\x1b".png)']
    assert read == [odd]


@pytest.mark.parametrize("content", ["role,name\nimage,x\n", "role\nimage,x,many,1,2\n", "role\n\0\n"])
def test_a_record_that_is_damaged_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "files.csv").write_text(content)
    images = CLASSIFICATION.open("digits", quiet=True)
    with pytest.raises(fb.InputError, match="files.csv cannot be read"):
        changed_images(tmp_path, images, quiet=True)


def test_a_run_goes_on_with_the_threads_it_began_with(tmp_path: Path) -> None:
    write_environment(tmp_path, torch.device("cpu"))
    here = torch.get_num_threads()
    with threads_of(tmp_path):
        assert torch.get_num_threads() == here
    environment = json.loads((tmp_path / "environment.json").read_text())
    environment["values"]["threads"] = here + 2
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    said = f"goes on with {here + 2} threads, as it began, not with {here}"
    with pytest.warns(UserWarning, match=said), threads_of(tmp_path):
        assert torch.get_num_threads() == here + 2
    assert torch.get_num_threads() == here


def test_a_record_of_another_shape_is_named(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"values": [1]}')
    with pytest.raises(fb.InputError, match="environment.json is not as it should be"), threads_of(tmp_path):
        pass


def test_the_images_of_a_run_are_recorded(finished: fb.Run) -> None:
    facts = json.loads((finished.folder / DATA).read_text())
    rows = (finished.folder / "files.csv").read_text().splitlines()[1:]
    assert len(rows) == facts["train_images"] + facts["val_images"]
