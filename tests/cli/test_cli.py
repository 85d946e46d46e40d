"""The command line: every verb works, prints JSON that parses, and answers wrong calls with one sentence."""

import json
import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli import Cli
from helpers.images import draw_classes
from PIL import Image
from safetensors.torch import save_file

import featherbone as fb

QUICK_OPTIONS = ("--epochs", "1", "--batch-size", "8", "--precision", "f32", "--workers", "0")


def test_list(cli: Cli) -> None:
    code, out, _ = cli("list", "vovnet*")
    assert code == 0
    assert "vovnet27_slim" in out
    assert "3,525,736" in out
    code, out, _ = cli("list", "csp*", "--json")
    assert [m["name"] for m in json.loads(out)["models"]] == [
        name for name in fb.list_models() if name.startswith("csp")
    ]


def test_show(cli: Cli) -> None:
    code, out, _ = cli("show", "vovnet39")
    assert code == 0
    assert "(256, 512, 768, 1024)" in out
    assert "1024x7x7" in out
    assert "arXiv 1904.09730" in out
    code, out, _ = cli("show", "densenet40_k12_cifar")
    assert "output at 32" in out
    code, out, _ = cli("show", "vovnet39", "--json", "--size", 64)
    assert json.loads(out)["row"]["modules"] == [1, 1, 2, 2]


def test_cost(cli: Cli, finished: fb.Run) -> None:
    code, out, _ = cli("cost", "shufflenet_v2_x1_0.tv")
    assert code == 0
    assert "144,907,992" in out
    code, out, _ = cli("cost", "densenet121", "--json", "--by", "op", "--size", 64, "--batch", 2)
    values = json.loads(out)
    assert values["params"] == 7_978_856
    assert sum(row["macs"] for row in values["op"]) == values["macs"]
    code, out, _ = cli("cost", "shufflenet_v2_x0_5", "--json", "--num-classes", 10, "--in-chans", 1)
    assert json.loads(out)["params"] == 1_365_792 - 990 * 1024 - 2 * 24 * 9
    code, out, _ = cli("cost", finished.folder, "--json")
    assert json.loads(out)["size"] == [32, 32]


def test_a_whole_path(cli: Cli, tmp_path: Path) -> None:
    """Train, evaluate, predict, export: every printed command is typed as printed."""
    data = draw_classes(tmp_path / "my images", count=6)
    (data / "blue" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    code, out, err = cli("train", data, "--out", tmp_path / "a run", *QUICK_OPTIONS)
    assert code == 0, err
    assert "held-out top-1" in out
    assert "broken.jpg" in out
    assert "epoch 1/1" in err
    lines = [line.strip() for line in out.partition("next:")[2].splitlines() if line.strip()]
    commands = [shlex.split(line.removeprefix("uv run "))[1:] for line in lines]
    assert [command[0] for command in commands] == ["evaluate", "predict", "export"]
    for command in commands:
        code, out, err = cli(*command)
        assert code == 0, err
        assert "next:" in out
    assert {"model.xml", "model.bin"} <= {p.name for p in (tmp_path / "a run").iterdir()}


def test_json_of_train_is_one_object_with_the_promised_keys(cli: Cli, colours: Path, tmp_path: Path) -> None:
    code, out, err = cli("train", colours, "--json", "--out", tmp_path / "run", *QUICK_OPTIONS)
    assert code == 0, err
    values = json.loads(out)
    assert values["run"] == str(tmp_path / "run")
    assert 0 <= values["test_top1"] <= 1
    assert values["train_seconds"] > 0


def test_json_of_the_verbs_on_a_run(cli: Cli, finished: fb.Run, tmp_path: Path) -> None:
    code, out, _ = cli("evaluate", finished.folder, "--json", "--out", tmp_path / "c.png")
    assert code == 0
    assert json.loads(out)["top1"] == finished.test_top1
    assert (tmp_path / "c.png").stat().st_size > 1000
    code, out, _ = cli("predict", finished.folder, finished.recipe.data, "--json")
    assert len(json.loads(out)["predictions"]) == 48
    code, out, _ = cli("export", finished.folder, "--out", tmp_path / "m.onnx", "--json")
    values = json.loads(out)
    assert values["samples"] == 4 + 12  # random ones; photographs, their parts and held-out images
    assert values["largest_error"] <= 1e-4 * values["largest_output"]


def wrong_files(folder: Path) -> dict[str, Path]:
    """Write what people mistake for a run."""
    folder.mkdir()
    files = {
        name: folder / name for name in ("pickle.pt", "cut.safetensors", "plain.safetensors", "photo.png", "empty")
    }
    files["pickle.pt"].write_bytes(pickle.dumps({"weights": 1}))
    fb.save(fb.create_model("shufflenet_v2_x0_5", num_classes=2), files["cut.safetensors"])
    whole = files["cut.safetensors"].read_bytes()
    files["cut.safetensors"].write_bytes(whole[: len(whole) // 3])
    save_file({"a": torch.zeros(1)}, files["plain.safetensors"])
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(files["photo.png"])
    files["empty"].write_bytes(b"")
    return files


def test_wrong_calls_get_their_sentence_and_exit_code_2(cli: Cli, finished: fb.Run, tmp_path: Path) -> None:
    files = wrong_files(tmp_path / "files")
    run, out = finished.folder, tmp_path / "out"
    image = finished.examples[0]
    (tmp_path / "one" / "cat").mkdir(parents=True)
    calls: list[tuple[str, tuple[object, ...]]] = [
        (r"model 'densnet121' is unknown \(did you mean 'densenet121'\?\)", ("train", "--model", "densnet121")),
        (r"no network is called 'mobilenet\*'", ("list", "mobilenet*")),
        ("no such folder: ", ("train", tmp_path / "absent", "--out", out)),
        ("is a file; a data set is", ("train", image, "--out", out)),
        ("has no images to learn from", ("train", tmp_path / "one", "--out", out)),
        ("has no class folders", ("train", tmp_path / "one" / "cat", "--out", out)),
        ("epochs=0 is not allowed", ("train", "--epochs", 0, "--out", out)),
        ("size=5 is too small", ("train", "--size", 5, "--out", out)),
        ("holds a run already", ("train", "digits", "--out", run)),
        ("holds no run to resume", ("train", "--resume", tmp_path)),
        ("is finished", ("train", "--resume", run)),
        ("leave out epochs", ("train", "--resume", run, "--epochs", 9)),
        ("leave out data, model", ("train", "photos", "--model", "vovnet39", "--resume", run)),
        ("no such run or weight file", ("evaluate", tmp_path / "absent")),
        ("it is a pickle", ("evaluate", files["pickle.pt"], "digits")),
        ("damaged or cut short", ("predict", files["cut.safetensors"], image)),
        ("no featherbone header", ("export", files["plain.safetensors"], "--out", out / "m.onnx")),
        ("it is a picture", ("predict", files["photo.png"], image)),
        ("the file is empty", ("cost", files["empty"])),
        ("digits has 10 classes .*, not the 3 of", ("evaluate", run, "digits")),
        ("no such file, folder or pattern", ("predict", run, tmp_path / "no*.png")),
        ("can be read as an image", ("predict", run, files["pickle.pt"])),
        ("neither a run, a weight file nor the name", ("export", "vovnet93", "--out", out / "m.onnx")),
        ("the format of .* is not clear", ("export", run, "--out", out / "m.tflite")),
        ("whose files end in .xml", ("export", run, "--to", "openvino", "--out", out / "m.onnx")),
        ("size=0", ("cost", "vovnet39", "--size", 0)),
        ("in_chans=0 is not allowed", ("cost", "vovnet39", "--in-chans", 0)),
        ("in_chans=4, but .* has 3 channels", ("cost", run, "--in-chans", 4)),
        ("num_classes=10, but .* has 3 classes", ("export", run, "--num-classes", 10, "--out", out / "m.onnx")),
        ("cannot be traced at size 3x3", ("cost", "densenet121", "--size", 3)),
    ]
    for said, call in calls:
        code, printed, err = cli(*call)
        assert code == 2, (call, err)
        assert re.search(said, err), (call, err)
        assert err.count("\n") == 1, (call, err)
        assert err.startswith("featherbone: ")
        assert "Traceback" not in err
        assert not printed
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    "call",
    [
        ("trian",),
        ("train", "--epoch", "3"),
        ("train", "--epochs", "many"),
        ("cost",),
        ("export", "vovnet39"),
        ("cost", "x", "--by", "y"),
    ],
)
def test_calls_that_are_no_calls_get_usage_and_exit_code_2(cli: Cli, call: tuple[str, ...]) -> None:
    code, out, err = cli(*call)
    assert code == 2
    assert "Usage: featherbone" in err
    assert not out


def test_a_folder_that_cannot_be_written(cli: Cli, tmp_path: Path, finished: fb.Run) -> None:
    (tmp_path / "file").write_text("")
    for call in (
        ("export", finished.folder, "--out", tmp_path / "file" / "m.onnx"),
        ("evaluate", finished.folder, "--out", tmp_path / "file" / "c.png"),
        ("train", finished.recipe.data, "--out", tmp_path / "file" / "run"),
    ):
        code, _, err = cli(*call)
        assert code == 2, err
        assert "cannot write" in err


@pytest.mark.parametrize(
    ("call", "wrong", "said"),
    [
        (("analyze", "guidelines", "--out"), "g.xyz", "--out=.*g.xyz is not allowed: .* .png or .svg or .pdf"),
        (("analyze", "guidelines", "--out"), "folder.png", "--out=.*folder.png is a folder"),
        (("analyze", "guidelines", "--out"), "file/g.png", "cannot write .*g.png: Not a directory"),
        (("compare", "--report"), "folder", "--report=.*folder is not allowed: .* .html"),
        (("compare", "--csv"), "file/new/rows.csv", "cannot write"),
        (("compare", "--csv"), "rows.html", "--csv=.*rows.html is not allowed"),
        (("evaluate", "run", "--out"), "c.xyz", "--out=.*c.xyz is not allowed"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_measured(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[str, ...], wrong: str, said: str
) -> None:
    for verb in ("guidelines", "compare", "evaluate"):
        monkeypatch.setattr(fb, verb, lambda *_, **__: pytest.fail("too late"))
    (tmp_path / "file").write_text("")
    for folder in ("folder", "folder.png"):
        (tmp_path / folder).mkdir()
    before = sorted(tmp_path.rglob("*"))
    code, _, err = cli(*call, tmp_path / wrong)
    assert code == 2
    assert re.search(said, err), err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_package_is_said_before_anything_is_measured(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    for room, verb, call in (
        ("analyze", "guidelines", ("analyze", "guidelines", "--out", tmp_path / "new" / "g.png")),
        ("compare", "compare", ("compare", "--report", tmp_path / "new" / "p.html")),
    ):
        monkeypatch.setattr(f"featherbone.cli.{room}.import_module", absent)
        monkeypatch.setattr(fb, verb, lambda **_: pytest.fail("too late"))
        code, _, err = cli(*call)
        assert code == 2
        assert "pip install 'featherbone[" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verb", "call"),
    [("compare", ("compare",)), ("guidelines", ("analyze", "guidelines")), ("cost", ("cost", "shufflenet_v2_x0_5"))],
)
def test_ctrl_c_says_that_it_stopped(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, verb: str, call: tuple[str, ...]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fb, verb, interrupted)
    assert cli(*call) == (130, "", "featherbone: stopped\n")


def test_what_to_do_next_names_one_image_however_many_were_given(cli: Cli, finished: fb.Run) -> None:
    images = sorted(Path(finished.recipe.data).glob("*/*.png"))
    code, out, _ = cli("predict", finished.folder, *images)
    assert code == 0
    assert out.partition("next:")[2].count(".png") == 1


def test_debug_shows_the_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = cli("show", "vovnet93", "--debug")
    assert code == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("featherbone: ")


def test_help_names_every_verb(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for verb in ("list", "show", "cost", "train", "evaluate", "predict", "export"):
        assert f" {verb} " in out
