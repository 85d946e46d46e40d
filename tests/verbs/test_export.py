"""A file is written only if the engine gives the network's outputs, and carries what it needs."""

import json
import runpy
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.families import slow_but, thin, tiny
from helpers.paths import ROOT
from helpers.reference import randomize
from torch import nn

import featherbone as fb
from featherbone.deploy.engines.openvino import core
from featherbone.deploy.export import METADATA_KEY, Exported, export_network
from featherbone.deploy.formats import FORMATS
from featherbone.deploy.variants import PLAIN

MATRIX = ROOT / "docs" / "export.md"


def test_the_module_is_left_as_it_was(tmp_path: Path) -> None:
    model = tiny(num_classes=3).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fb.export(model, tmp_path / "a.onnx", size=64)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", slow_but(("densenet121", "vovnet27_slim", "shufflenet_v2_x0_5"), ("densenet121",)))
@pytest.mark.parametrize("suffix", slow_but(("onnx", "xml"), ("onnx",)))
def test_files_give_the_networks_answers_at_any_batch_size(name: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = randomize(thin(name, num_classes=5, in_chans=1).build())
    result = fb.export(model, tmp_path / f"m.{suffix}", size=64)
    assert result.largest_error <= 1e-4 * result.largest_output
    assert result.same_answers == 1.0
    assert result.samples == 16  # four random ones, two photographs, parts of these
    run = FORMATS[result.format].load(result.path)
    x = torch.randn(5, 1, 64, 64)
    with torch.no_grad():
        assert (run(x) - model(x)).abs().max() <= 1e-4 * result.largest_output
    expected = {"m.onnx"} if suffix == "onnx" else {"m.xml", "m.bin"}
    assert {p.name for p in tmp_path.iterdir()} == expected


def test_the_file_carries_row_classes_and_preprocessing(tmp_path: Path) -> None:
    import onnx

    preprocess = fb.Preprocess.usual(64, 3)
    model = tiny(num_classes=2)
    fb.save(model, tmp_path / "m.safetensors", classes=("cat", "dog"), preprocess=preprocess)
    result = fb.export(tmp_path / "m.safetensors", tmp_path / "m.onnx")
    stored = {p.key: p.value for p in onnx.load(result.path).metadata_props}
    header = json.loads(stored[METADATA_KEY])
    assert header["classes"] == ["cat", "dog"]
    assert header["preprocess"] == preprocess.to_dict()
    assert header["spec"]["family"] == "shufflenet_v2"


def test_nothing_is_written_if_the_outputs_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(num_classes=2).eval()
    old = tmp_path / "m.onnx"
    old.write_bytes(b"what was there")

    def wrong(path: Path):  # type: ignore[no-untyped-def]
        return lambda images: model(images).detach() + 0.01

    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], load=wrong))
    with pytest.raises(fb.InputError, match="nothing was written: .* differ from the network's by 0.01"):
        export_network(model, old, torch.randn(2, 3, 64, 64), overwrite=True)
    assert old.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_not_a_number_is_no_agreement(tmp_path: Path) -> None:
    model = tiny(num_classes=2)
    model.head[1].classifier.weight.data.fill_(float("nan"))  # type: ignore[index]
    with pytest.raises(fb.InputError, match=r"hold NaN or infinity \(head.1.classifier.weight\)"):
        fb.export(model, tmp_path / "m.onnx", size=64)
    assert list(tmp_path.iterdir()) == []


def test_formats_and_suffixes(tmp_path: Path) -> None:
    model = tiny(num_classes=2)
    assert fb.export(model, tmp_path / "plain", to="onnx", size=64).path.name == "plain.onnx"
    for out, to, said in (
        ("m", None, "format .* is not clear"),
        ("m.onnx", "tflite", "to='tflite' is not allowed"),
        ("m.xml", "onnx", "files end in .onnx"),
    ):
        with pytest.raises(fb.InputError, match=said):
            fb.export(model, tmp_path / out, to=to, size=64)
    with pytest.raises(fb.InputError, match="neither a run, a weight file nor the name of a network.*vovnet39"):
        fb.export("vovnet93", tmp_path / "m.onnx")


def test_a_strangers_module_and_five_channels(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    result = fb.export(model, tmp_path / "m.onnx", size=16)
    assert {name: times for name, times in result.rewrites.items() if times} == {
        "batch norm folded into a convolution": 1
    }


@pytest.mark.parametrize("suffix", ["pt2", "pte"])
def test_pytorchs_own_formats_are_proven_and_carry_the_header(suffix: str, tmp_path: Path) -> None:
    if suffix == "pte":
        pytest.importorskip("executorch", reason="an extra of its own: uv sync --extra executorch")
    torch.manual_seed(0)
    model = randomize(fb.create_model("vovnet27_slim", num_classes=5))
    result = fb.export(model, tmp_path / f"m.{suffix}", size=64)
    assert [path.name for path in tmp_path.iterdir()] == [f"m.{suffix}"]
    assert result.format == {"pt2": "torch", "pte": "executorch"}[suffix]
    assert result.largest_error <= 1e-4 * result.largest_output
    images = torch.randn(5, 3, 64, 64)
    run = FORMATS[result.format].load(result.path)
    with torch.no_grad():
        assert (run(images) - model(images)).abs().max() <= 1e-4 * result.largest_output
    header = stored_header(result)
    assert header["spec"]["family"] == "vovnet"
    if suffix == "pt2":
        with zipfile.ZipFile(result.path) as archive:  # the weights are plain bytes, and no image is stored
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            assert not any("pickle" in name for name in sizes)
            assert sum(size for name, size in sizes.items() if name.endswith(".pt")) < 10_000
            configs = [archive.read(name).decode() for name in sizes if name.endswith("_config.json")]
        assert configs
        assert not any('"use_pickle": true' in config for config in configs)


def stored_header(result: Exported) -> dict[str, Any]:
    """Return the header in a file of one of PyTorch's formats."""
    if result.format == "torch":
        texts = {METADATA_KEY: ""}
        torch.export.load(result.path, extra_files=texts)
        return json.loads(texts[METADATA_KEY])
    from executorch.runtime import Runtime

    return json.loads(Runtime.get().load_program(result.path).load_method(METADATA_KEY).execute([])[0])


def test_an_openvino_file_has_a_free_batch_names_and_the_header(tmp_path: Path) -> None:
    model = tiny(num_classes=2)
    file = core().read_model(fb.export(model, tmp_path / "m.xml", size=64).path)
    assert file.input(0).partial_shape.to_string() == "[?,3,64,64]"
    assert file.output(0).partial_shape.to_string() == "[?,2]"
    assert (file.input(0).names, file.output(0).names) == ({"images"}, {"outputs"})
    assert json.loads(file.get_rt_info(METADATA_KEY).astype(str))["spec"]["family"] == "shufflenet_v2"


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache", "no_waiting")
def test_the_fastest_form_is_the_one_that_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    model = nn.Sequential(fb.conv(3, 16, 3, stride=2), fb.Shuffle(2), fb.conv(16, 16, 1), *head).eval()
    result = fb.export(model, tmp_path / "m.xml", size=32, optimize=True)
    report = result.report
    assert report
    assert {(way.engine, way.precision) for way in report.candidates} == {("openvino", "f32")}
    assert result.rewrites == report.applied
    values = json.loads(json.dumps(result.to_dict()))["report"]
    assert values["form"] == str(report.chosen.variant)
    assert values["speedup"] == report.speedup
    assert values["verdict"] in report.verdict
    plain = replace(report, chosen=replace(report.plain, variant=PLAIN), applied={})
    monkeypatch.setattr("featherbone.deploy.export._fastest", lambda *_: plain)
    assert fb.export(model, tmp_path / "plain.xml", size=32, optimize=True).rewrites == {}
    with pytest.raises(fb.InputError, match="optimize=True is not allowed for executorch"):
        monkeypatch.undo()
        fb.export(model, tmp_path / "m.pte", size=32, optimize=True)


@pytest.mark.skipif(not MATRIX.exists(), reason="just matrix has not written the page yet")
def test_the_page_of_the_matrix_lists_every_family_and_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = ROOT / "tools" / "export_matrix.py"
    monkeypatch.setattr(sys, "argv", [str(tool), "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(tool), run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().out
