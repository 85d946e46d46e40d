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
from helpers.cli import Cli
from helpers.reference import differs, imported, randomize
from helpers.strangers import SmallDenseNet
from PIL import Image
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


SMALL_ROW = [
    option
    for column in ("layers=2,3", "growth_rate=12", "stem_channels=24", "stem_norm=false", "stem_stride=1")
    for option in ("--set", column)
]


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallDenseNet:
    """A small DenseNet under names that nobody knows, in theirs.pth; its outputs in reference.npz."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    theirs = randomize(SmallDenseNet((2, 3)))
    torch.save({name.replace("dense", "block"): tensor for name, tensor in theirs.state_dict().items()}, "theirs.pth")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        np.savez("reference.npz", input=images.numpy(), output=theirs(images).numpy())
    return theirs


def test_a_row_on_the_command_line(stranger: SmallDenseNet, cli: Cli) -> None:
    command = ["import", "theirs.pth", "--as", "densenet121", "--out", "o.safetensors"]
    code, out, err = cli(*command, *SMALL_ROW)
    assert code == 0, err
    assert "matched by order: shapes agree, and nothing else is known; prove it with --check" in " ".join(out.split())
    model = fb.load("o.safetensors", fb.Backbone)
    assert differs(model, stranger, 32) < 1e-6
    assert fb.read_header("o.safetensors").notes == (
        "matched by order: shapes agree, and nothing else is known; prove it with --check",
    )
    assert "note: matched by order" in cli("show", "o.safetensors")[1]
    for wrong, said in (
        ("layer=2,3", "column 'layer' is unknown for densenet (did you mean 'layers'?)"),
        ("layers=two", "layers=('two',) is not allowed: whole numbers"),
        ("compression=2", "compression=2 is not allowed: above 0, at most 1"),
        ("family=vovnet", "family is no column that can be changed"),
        ("layers", "--set layers is not allowed: COLUMN=VALUE, for example layers=6,12,24"),
    ):
        code, _, err = cli(*command, "--set", wrong)
        assert code == 2
        assert said in " ".join(err.split()), (said, err)


def test_outputs_prove_an_import_or_nothing_is_written(stranger: SmallDenseNet, cli: Cli) -> None:
    command = ["import", "theirs.pth", "--as", "densenet121", "--out", "o.safetensors", *SMALL_ROW]
    code, out, err = cli(*command, "--check", "reference.npz", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["by_order"] is True
    assert report["proof"]["relative"] < 1e-5
    assert report["proof"]["images"] == 2
    assert fb.read_header("o.safetensors").notes[0].startswith("outputs agree with a reference: largest difference")
    Path("o.safetensors").unlink()
    with np.load("reference.npz") as arrays:
        np.savez("other.npz", input=arrays["input"], output=arrays["output"][::-1])
    code, _, err = cli(*command, "--check", "other.npz")
    assert code == 2
    assert "the outputs are not those of the reference: largest difference" in " ".join(err.split())
    assert "(allowed: 0.0001)" in " ".join(err.split())
    code, _, err = cli(*command, "--rename", "no rule")
    assert "--rename no rule is not allowed: REGEX=TEXT" in " ".join(err.split())
    assert not Path("o.safetensors").exists()
    code, out, err = cli(
        *command, "--rename", "^block=dense", "--form", "kuangliu/pytorch-cifar with new channels last"
    )
    assert code == 0, err
    assert differs(fb.load("o.safetensors"), stranger, 32) < 1e-6


def test_accuracy_proves_an_import_or_nothing_is_written(stranger: SmallDenseNet, cli: Cli) -> None:
    """Images are put into the classes that the network gives them, but for a fourth of them."""
    names = [f"c{i}" for i in range(10)]
    Path("names.txt").write_text("\n".join(names))
    generator = np.random.default_rng(0)
    for number in range(8):
        pixels = generator.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        with torch.no_grad():
            answer = int(stranger(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255).argmax())
        folder = Path("data") / names[answer if number % 4 else (answer + 1) % 10]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    command = ["import", "theirs.pth", "--as", "densenet121", "--out", "o.safetensors", *SMALL_ROW]
    command += ["--check-accuracy", "data"]
    images = ["--mean", "0,0,0", "--std", "1,1,1", "--size", 32, "--classes", "names.txt"]
    for options, said in (
        ([], "say its classes (--classes) and its images' mean (--mean, --std)"),
        ([*images, "--least", 80], "is 75.00%, less than least=80: nothing is written"),
        ([*images, "--least", 101], "least=101.0 is not allowed: a percentage from 0 to 100"),
    ):
        code, _, err = cli(*command, *options)
        assert code == 2
        assert said in " ".join(err.split()), err
        assert not Path("o.safetensors").exists()
    code, out, err = cli(*command, *images, "--least", 75, "--json")
    assert code == 0, err
    assert json.loads(out)["accuracy"] == 0.75
    assert fb.read_header("o.safetensors").notes == ("top-1 75.00% when imported",)
    code, _, err = cli("import", "theirs.pth", "--as", "densenet121", "--out", "x.safetensors", "--least", 3)
    assert "--least goes with --check-accuracy DATA" in " ".join(err.split())
