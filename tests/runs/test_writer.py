"""A run's folder has one writer at a time, is claimed before anything is read, and does not lie inside the data."""

import errno
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers.images import draw_classes

import featherbone as fb
from featherbone.runs import writer
from featherbone.runs.prepare import new_folder
from featherbone.runs.start import ModelRequest
from featherbone.runs.tasks import CLASSIFICATION
from featherbone.runs.writer import writing


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_MOMENT", 0.1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def claimed(out: Path | str | None, data: Path | str = "digits") -> Any:
    return new_folder(out, data, ModelRequest("peleenet"), CLASSIFICATION)


def held_elsewhere(folder: Path) -> int:
    """Let another process, which has a child, write to a folder for ever; return its id."""
    told, tell = os.pipe()
    if not (process := os.fork()):
        with writing(folder):
            if not os.fork():
                time.sleep(60)
                os._exit(0)
            os.write(tell, b".")
            time.sleep(60)
    os.read(told, 1)
    return process


def test_a_second_writer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    process = held_elsewhere(tmp_path)
    try:
        who = rf"is being written to by process {process} on {re.escape(os.uname().nodename)}, since 20\d\d-"
        with pytest.raises(fb.InputError, match=who), writing(tmp_path):
            pass
        with pytest.raises(fb.InputError, match=who), claimed(tmp_path):
            pass
        (tmp_path / "recipe.json").write_text("{}")
        with pytest.raises(fb.InputError, match=who):
            fb.resume(tmp_path)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def test_the_lock_ends_with_its_process_though_loader_processes_live_on(tmp_path: Path) -> None:
    process = held_elsewhere(tmp_path)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with writing(tmp_path):
        pass


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", missing)
    with pytest.warns(UserWarning, match="has no locks: let no other process write"), writing(tmp_path):
        pass


def test_what_a_killed_process_had_begun_to_write_is_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    halves = (".run.0a1b2c3d.html", ".recipe.0a1b2c3d.json", "checkpoints/.000000004.0a1b2c3d.ckpt")
    for name in (*halves, ".mine", "run.html"):
        (tmp_path / name).touch()
    with writing(tmp_path):
        assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
            ".lock",
            ".mine",
            "run.html",
            "writer.json",
        }


def test_runs_that_nobody_named_get_folders_of_their_own(here: Path) -> None:
    with claimed(None) as first, claimed(None) as second:
        assert [first.name, second.name] == ["digits-peleenet-1", "digits-peleenet-2"]


@pytest.fixture(params=["a/b/run", "there"])
def out(request: pytest.FixtureRequest, here: Path) -> Iterator[Path]:
    (here / "there").mkdir()
    before = set(here.rglob("*"))
    yield here / request.param
    assert set(here.rglob("*")) == before


def test_a_folder_of_which_nothing_came_is_as_it_was(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(out) as folder:
        (folder / "start.safetensors").touch()
        (folder / "files.csv").touch()
        raise KeyboardInterrupt


def test_what_a_killed_preparation_left_is_not_taken_for_the_next_ones(tmp_path: Path) -> None:
    """Weights to start from would be begun with, though nobody has asked for any."""
    (tmp_path / "start.safetensors").touch()
    (tmp_path / "writer.json").write_text("{}")
    with claimed(tmp_path) as folder:
        assert not (folder / "start.safetensors").exists()


@pytest.mark.parametrize("name", ["data.json", "model.safetensors", "start.safetensors", "checkpoints", "run.html"])
def test_files_that_are_not_a_runs_are_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir() if name == "checkpoints" else (tmp_path / name).write_text("mine")
    before = set(tmp_path.iterdir())
    with pytest.raises(fb.InputError, match=f"holds {name} already, which a run would replace"), claimed(tmp_path):
        pass
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("out", [None, "runs/x", ".", "red/run", "../photos/x", "../link/x"])
def test_a_run_never_lies_inside_its_data(out: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = draw_classes(tmp_path / "photos", count=2)
    (tmp_path / "link").symlink_to(photos)
    monkeypatch.chdir(photos)
    before = set(photos.rglob("*"))
    for data in (".", photos, tmp_path / "link"):
        with pytest.raises(fb.InputError, match=r"out=.* lies inside the data .*/photos\).*photos-results"):
            fb.train(data, out=out, quiet=True)
    assert set(photos.rglob("*")) == before


def test_a_run_may_lie_beside_a_list_of_images(here: Path) -> None:
    (here / "list.csv").touch()
    with claimed(None, here / "list.csv") as folder:
        assert folder.is_dir()


def test_runs_inside_class_folders_are_no_classes_and_are_named(tmp_path: Path) -> None:
    """As older versions have left them there."""
    photos = draw_classes(tmp_path / "photos", count=2)
    for run in ("runs/photos-1", "runs/photos-2", "red/run", "one"):
        (photos / run / "examples").mkdir(parents=True)
        for name in ("recipe.json", "data.json", "examples/0.png"):
            (photos / run / name).touch()
    listing = CLASSIFICATION.opener.list(photos, quiet=True)
    assert listing.classes == ("blue", "green", "red")
    assert len(listing.splits["all"]) == 6
    assert {(one.path, one.reason, one.files) for one in listing.left_out} == {
        (f"{place}/", "a run of featherbone's, no images", files)
        for place, files in (("runs", 6), ("one", 3), ("red/run", 3))
    }
