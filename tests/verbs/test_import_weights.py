"""A foreign file becomes our weights, or one sentence says why not; it never runs code."""

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from helpers.reference import differs, imported, randomize
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli.app import app


def test_what_does_not_fit_is_refused_and_the_right_network_named(tmp_path: Path) -> None:
    theirs = torchvision.models.shufflenet_v2_x1_0().state_dict()
    ours = fb.create_model("shufflenet_v2_x1_0")
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    with pytest.raises(fb.InputError, match=r"they fit shufflenet_v2_x1_0\.tv"):
        fb.load_weights(ours, theirs)
    with pytest.raises(fb.InputError, match=r"they fit shufflenet_v2_x1_0\.tv"):
        fb.load_weights(fb.create_model("shufflenet_v2_x0_5.tv"), theirs)
    with pytest.raises(fb.InputError, match="no form of vovnet"):
        fb.load_weights(fb.create_model("vovnet27_slim"), {"a": torch.zeros(1)})
    cut = {k: v for k, v in theirs.items() if not k.startswith("stage3.2")}
    with pytest.raises(fb.InputError, match=r"nothing for stages\.2"):
        fb.load_weights(fb.create_model("shufflenet_v2_x1_0.tv"), cut)
    assert all(torch.equal(v, before[k]) for k, v in ours.state_dict().items())

    def refused(content: bytes, said: str, name: str = "m.pth") -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(fb.InputError, match=said):
            fb.import_weights("densenet121", tmp_path / name)

    refused(b"", "no PyTorch checkpoint")
    refused(pickle.dumps(Path()), "no PyTorch checkpoint of plain tensors")
    refused(b"nonsense", "no safetensors.*text that begins with 'nonsense'", "m.safetensors")
    torch.save({"epoch": 1, "other": {"a": torch.zeros(1)}}, tmp_path / "n.pth")
    refused((tmp_path / "n.pth").read_bytes(), "in no form of densenet")
    with pytest.raises(fb.InputError, match="no such weight file"):
        fb.import_weights("densenet121", tmp_path / "absent.pth")


def test_what_training_scripts_leave_beside_their_tensors_is_no_hindrance(tmp_path: Path) -> None:
    theirs = randomize(torchvision.models.shufflenet_v2_x0_5(num_classes=2))
    beside = {"best_acc": np.float64(0.9), "epoch": np.int64(3), "args": argparse.Namespace(lr=0.1), "arch": "x"}
    model, _ = imported(tmp_path, "shufflenet_v2_x0_5.tv", theirs.state_dict(), **beside)
    assert differs(model, theirs) < 1e-6


def test_a_checkpoint_that_could_run_code_never_does(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "run",))

    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(fb.InputError, match="plain tensors"):
        fb.import_weights("densenet121", tmp_path / "evil.pth")
    assert not (tmp_path / "run").exists()


def test_import_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = randomize(torchvision.models.shufflenet_v2_x0_5(num_classes=2))
    torch.save(theirs.state_dict(), "theirs.pth")
    Path("names.txt").write_text("cat\n\ndog\n")
    run = CliRunner()
    shifted = run.invoke(app, ["import", "theirs.pth", "--as", "shufflenet_v2_x0_5.tv", "--classes", "names.txt"])
    assert "3 names, but the network has 2 outputs" in str(shifted.exception)  # an empty line has a number, too
    Path("names.txt").write_text("cat\ndog\n\n")
    done = run.invoke(app, ["import", "theirs.pth", "--as", "shufflenet_v2_x0_5.tv", "--classes", "names.txt"])
    assert done.exit_code == 0, done.output
    assert "torchvision" in done.output
    file = "shufflenet_v2_x0_5.tv.safetensors"
    assert fb.read_header(file).classes == ("cat", "dog")
    assert differs(fb.load(file), theirs) == 0
    again = run.invoke(app, ["import", "theirs.pth", "--as", "shufflenet_v2_x0_5.tv"])
    assert isinstance(again.exception, fb.InputError)
    assert "--out" in str(again.exception)
    command = ["import", "theirs.pth", "--as", "shufflenet_v2_x0_5.tv", "--out", "b.safetensors", "--json"]
    report = json.loads(run.invoke(app, command).stdout)
    assert report["source"] == "torchvision"
    assert report["missing"] == report["left_over"] == []
    assert report["preprocess"] is None  # of two classes nobody published any
    own = run.invoke(app, [*command, "--mean", "0.5,0.5,0.5", "--std", "1,1,1", "--size", "64", "--bgr"])
    assert json.loads(own.stdout)["preprocess"]["bgr"] is True
    given = fb.Preprocess(size=64, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), bgr=True)
    assert fb.read_header("b.safetensors").preprocess == given
    wrongs = ((["--size", "3"], "go with"), (["--mean", "1"], "go together"), (["--mean", "a", "--std", "1"], "commas"))
    for wrong, said in wrongs:
        failed = run.invoke(app, [*command, *wrong])
        assert isinstance(failed.exception, fb.InputError)
        assert said in str(failed.exception)
