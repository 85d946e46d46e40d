"""Exports appear whole or not at all: pairs, full disks, other people's files."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.families import slow_but
from torch import Tensor, nn

import featherbone as fb
from featherbone.deploy.export import _workshop
from featherbone.deploy.formats import FORMATS
from featherbone.deploy.pair import replace_pair
from featherbone.files import MARK


def network(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(IMAGES)


class KilledError(BaseException):
    """Stands for a signal: no handler of errors catches it."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pairs")
    made = {"old": network(0), "same size": network(1), "larger": network(2, 64), "smaller": network(3, 2)}
    return {
        name: fb.export(model, place / name.replace(" ", "-") / "m.xml", size=16).path for name, model in made.items()
    }


@pytest.mark.parametrize("new", ["same size", "larger", "smaller"])
@pytest.mark.parametrize("renames", range(6))
def test_after_every_rename_a_whole_model_is_there(
    new: str, renames: int, pairs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target, shop = tmp_path / "m.xml", tmp_path / "shop"
    shop.mkdir()
    for suffix in (".xml", ".bin"):
        shutil.copy(pairs["old"].with_suffix(suffix), target.with_suffix(suffix))
        shutil.copy(pairs[new].with_suffix(suffix), (shop / "m").with_suffix(suffix))
    done: list[Path] = []
    rename = Path.replace

    def counted(self: Path, place: Path) -> Path:
        if len(done) == renames:
            raise KilledError
        done.append(place)
        return rename(self, place)

    monkeypatch.setattr(Path, "replace", counted)
    if renames < 5:
        with pytest.raises(KilledError):
            replace_pair(shop / "m.xml", target)
    else:
        replace_pair(shop / "m.xml", target)
    seeds = {"same size": network(1), "larger": network(2, 64), "smaller": network(3, 2)}
    found = FORMATS["openvino"].load(target)(IMAGES)
    assert torch.allclose(found, outputs(network(0) if renames < 2 else seeds[new]), atol=1e-4)
    if renames == 5:
        assert target.with_suffix(".bin").read_bytes() == pairs[new].with_suffix(".bin").read_bytes()
        assert target.read_bytes() == pairs[new].read_bytes()


@pytest.mark.parametrize(("named", "other"), [("user.xml", "user.bin"), ("user.xml", "user.xml"), ("m.onnx", "m.onnx")])
def test_files_of_others_are_never_replaced_unasked(named: str, other: str, tmp_path: Path) -> None:
    (tmp_path / other).write_text("the user's own file")
    with pytest.raises(fb.InputError, match=f"out=.*{other} exists and was not made by featherbone"):
        fb.export(network(0), tmp_path / named, size=16)
    assert (tmp_path / other).read_text() == "the user's own file"
    assert [path.name for path in tmp_path.iterdir()] == [other]


@pytest.mark.parametrize("suffix", slow_but(("onnx", "xml", "pt2"), ("xml",)))
def test_files_of_ours_are_replaced_and_others_when_asked(suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"m.{suffix}"
    target.write_text("the user's own file")
    fb.export(network(0), target, size=16, overwrite=True)
    assert MARK.encode() in target.read_bytes()
    result = fb.export(network(1), target, size=16)
    assert torch.allclose(FORMATS[result.format].load(target)(IMAGES), outputs(network(1)), atol=1e-4)


def test_what_a_killed_export_left_is_swept_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    target = tmp_path / "m.pt2"
    (tmp_path / ".m.dead.export" / "shop").mkdir(parents=True)
    with _workshop(target) as living:
        (living / "half").touch()
        fb.export(network(0), target, size=16)
        assert (living / "half").exists()
        assert not (tmp_path / ".m.dead.export").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt2"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "xml", "pt2"])
def test_a_full_disk_ends_in_a_sentence_and_leaves_what_was_there(suffix: str, tmp_path: Path) -> None:
    script = """
import resource, signal, sys
import torch
from torch import nn
import featherbone as fb
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = nn.Sequential(nn.Conv2d(3, 512, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 300))
fb.export(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 3)), sys.argv[1], size=16)
print("written")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    fb.export(model, sys.argv[1], size=16)
except fb.InputError as error:
    print(error)
"""
    target = tmp_path / f"m.{suffix}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, said = done.stdout.splitlines()
    assert first == "written"
    assert "cannot" in said
    assert {path.name for path in tmp_path.iterdir()} == {f"m.{suffix}"} | ({"m.bin"} if suffix == "xml" else set())
    form = next(one for one in FORMATS.values() if one.suffix == target.suffix)
    assert tuple(form.load(target)(IMAGES).shape) == (4, 3)


def test_what_an_engine_cannot_write_or_read_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("node 17")

    honest = FORMATS["torch"]
    for broken, what in ((replace(honest, write=fail), "written"), (replace(honest, load=fail), "read")):
        monkeypatch.setitem(FORMATS, "torch", broken)
        with pytest.raises(fb.InputError, match=f"a torch file of this network cannot be {what}: 'node 17'"):
            fb.export(network(0), tmp_path / "m.pt2", size=16)
    assert not list(tmp_path.iterdir())
