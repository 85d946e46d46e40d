"""Which runs get a page, and that the page repeats the run."""

import shutil
from pathlib import Path

import pytest
from helpers.runs import seen

import featherbone as fb


def test_what_gets_no_page(short: fb.Run, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="run=.*nothing.* is not allowed: the folder of a finished run"):
        fb.run_page(tmp_path / "nothing")
    with pytest.raises(fb.InputError, match=r"out=.*page.pdf is not allowed: a file that ends in .html"):
        fb.run_page(short.folder, tmp_path / "page.pdf")
    shutil.copytree(short.folder, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(fb.InputError, match="did not finish"):
        fb.run_page(tmp_path / "run")


def test_any_run_is_repeated_in_python(short: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = seen(fb.run_page(short.folder, tmp_path / "page.html", quiet=True))
    assert "--set flip=0.0" in told["command"]
    monkeypatch.chdir(tmp_path)
    exec(told["python"], {})  # noqa: S102
    (again,) = (tmp_path / "runs").iterdir()
    for name in ("recipe.json", "model.safetensors"):
        assert (again / name).read_bytes() == (short.folder / name).read_bytes()
