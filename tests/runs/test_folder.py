"""The folder of a run is named after its data, whatever that is called."""

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import featherbone as fb
from featherbone.runs.prepare import usual_folders
from featherbone.runs.run import open_run
from featherbone.runs.start import ModelRequest
from featherbone.runs.tasks import CLASSIFICATION


@pytest.mark.parametrize("file", ["recipe.json", "data.json", "result.json"])
@pytest.mark.parametrize(
    "content",
    [
        "",
        "[" * 200_000,
        "[]",
        "3",
        '{"lr": "x", "classes": 3, "train_seconds": "x"}',
        '{"model": 1, "skipped": [3], "top1": "x"}',
        '{"version": Infinity}',
        None,
    ],
)
def test_a_damaged_file_of_a_run_is_named_in_a_sentence(
    finished: fb.Run, tmp_path: Path, file: str, content: str | None
) -> None:
    for name in ("recipe.json", "data.json", "result.json", "model.safetensors"):
        shutil.copy(finished.folder / name, tmp_path)
    assert open_run(tmp_path).scores == finished.scores
    (tmp_path / file).unlink()
    if content is None:
        (tmp_path / file).mkdir()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(fb.InputError, match=file):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("digits", "digits"),
        ("/somewhere/photos/", "photos"),
        ("sets/../my photos (1)", "my-photos-1"),
        ("labels.csv", "labels.csv"),
        ("hf:someone/some-set", "some-set"),
        ("shards/a.tar", "a"),
        ("shards/train-{000..099}.tar", "train"),
        ("shards/{000..099}.tar", "shards"),
        ("https://host/set/{train-{000..099},val-{000..004}}.tar?key=secret", "train-val"),
        ("https://host/set/s-{0..9}.tar", "s"),
        ("s3://bucket/set/", "set"),
        ("\u0444\u043e\u0442\u043e", "\u0444\u043e\u0442\u043e"),
        ("-rf 'it'; echo $HOME & \udcff\n\0", "rf-it-echo-HOME"),
        ("\U0001f600", Path.cwd().name),
        ("x" * 300, "x" * 40),
        ("/", "data"),
    ],
)
def test_names(data: str, name: str) -> None:
    first = next(usual_folders(data, ModelRequest("peleenet"), CLASSIFICATION))
    assert first == Path("runs") / f"{name}-peleenet-1"


@given(st.text(min_size=1), st.sampled_from(["", "https://host/", "hf:", "/a/"]))
def test_any_name_is_short_and_plain(data: str, before: str) -> None:
    folder = next(usual_folders(before + data, ModelRequest(), CLASSIFICATION))
    assert folder.parent == Path("runs")
    assert re.fullmatch(r"\w[\w.-]*", folder.name)
    assert len(folder.name.encode()) <= 255


def test_names_are_counted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = usual_folders("digits", ModelRequest(fb.spec("peleenet")), CLASSIFICATION)
    assert next(names).name == "digits-peleenet-1"
    (tmp_path / "runs" / "digits-peleenet-2").mkdir(parents=True)
    assert next(names).name == "digits-peleenet-3"
