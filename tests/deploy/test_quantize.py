"""Eight-bit integers: close to float on real digits, one scale where maps are joined, and layers that stay in float."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from helpers.families import thin
from PIL import Image
from torch import Tensor, nn
from torch.fx import GraphModule

import featherbone as fb
from featherbone.data.dataset import Dataset
from featherbone.data.sources.scikit_learn import digits, photographs
from featherbone.deploy import export
from featherbone.deploy.engines import Runner
from featherbone.deploy.engines.openvino import core
from featherbone.deploy.fidelity import Reference
from featherbone.deploy.formats import FORMATS
from featherbone.deploy.openvino_int8 import concat_scales
from featherbone.deploy.optimize import optimize_network
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.quantize import Calibration, quantized
from featherbone.deploy.search import REAL_IMAGES
from featherbone.deploy.variants import Variant
from featherbone.errors import InputError
from featherbone.models.densenet import DenseNetSpec
from featherbone.verbs.samples import folder_inputs

# PyTorch speaks of its own older interfaces where NNCF imports it
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def stacked(images: Dataset[int]) -> tuple[Tensor, Tensor]:
    """Return images at 32 pixels, ``(N, 1, 32, 32)``, and labels."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images.sources])).float() / 255
    grown = pixels.reshape(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return (grown - 0.3) / 0.35, torch.tensor(images.targets)


@pytest.fixture(scope="module")
def train() -> tuple[Tensor, Tensor]:
    return stacked(digits().train)


@pytest.fixture(scope="module")
def held_out() -> tuple[Tensor, Tensor]:
    return stacked(digits().val)


def fitted(model: nn.Module, train: tuple[Tensor, Tensor], epochs: int) -> nn.Module:
    torch.manual_seed(0)
    images, labels = train
    optimizer = torch.optim.Adam(model.train().parameters(), 3e-3)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(images)), 64):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(images[chosen]), labels[chosen]))
            optimizer.step()
    return model.eval()


def right(run: Callable[[Tensor], Tensor], given: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        return float((run(given[0]).argmax(1) == given[1]).double().mean())


def rewritten(model: nn.Module, images: Tensor) -> GraphModule:
    return Variant().of(rewritable(captured(model, images)))[0]


@pytest.fixture(scope="module")
def plain_net(train: tuple[Tensor, Tensor]) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))
    fitted(model, train, 8)
    return model


@pytest.mark.slow
def test_int8_is_close_to_float_on_real_digits(
    train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = fitted(thin("shufflenet_v2_x0_5", num_classes=10, in_chans=1, stem_stride=4).build(), train, 4)
    graph = rewritten(model, train[0])
    result = quantized(graph, train[0][:64], score=lambda run: right(run, held_out), max_drop=0.03)
    assert result.report.kept_float == ()
    assert result.report.float_score == pytest.approx(right(model, held_out), abs=0.003)
    assert result.report.float_score > 0.6
    assert "; 0 of " in str(result.report)
    # every convolution and the classifier has an error of its own, most of them of a few hundredths
    assert len(result.report.layer_errors) == result.report.layers > 25
    assert all(0 < error < 1 for error in result.report.layer_errors.values())
    assert median(result.report.layer_errors.values()) < 0.1
    scales = concat_scales(result.model)
    assert len(scales) == 7
    assert all(len(ranges) == 1 for ranges in scales.values())
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_concatenations_of_a_densenet_on_photographs_share_scales() -> None:
    torch.manual_seed(0)
    pixels = torch.from_numpy(np.stack(photographs())).permute(0, 3, 1, 2).float() / 255
    tiles = pixels.unfold(2, 64, 64).unfold(3, 64, 64).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 64, 64)
    tiles = ((tiles - 0.45) / 0.25)[::4, :, ::2, ::2]
    spec = fb.spec("densenet_bc100_k12_cifar")
    assert isinstance(spec, DenseNetSpec)
    model = replace(spec, layers=(3, 3, 3)).build()
    with torch.no_grad():
        for _ in range(12):
            model.train()(tiles)
        wanted = model.eval()(tiles)
    result = quantized(rewritten(model, tiles), tiles[:32], max_drop=0.1)
    scales = concat_scales(result.model)
    assert len(scales) == 9
    assert all(len(ranges) == 1 for ranges in scales.values())
    # the three blocks are not joined with each other
    assert len(set(scales.values())) == 3
    assert (result.runner(1)(tiles) - wanted).norm() / wanted.norm() < 0.3


def test_a_file_in_integers(plain_net: nn.Sequential, train: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    images = train[0][:300]
    written = fb.export(plain_net, tmp_path / "net.xml", size=32, precision="int8", calibration=images)
    assert written.int8 is not None
    run = FORMATS["openvino"].load(written.path)
    others = Calibration.of(images, images).check  # which gave no scales
    with torch.no_grad():
        wanted = plain_net(others).argmax(1)
    assert float((run(others).argmax(1) == wanted).double().mean()) == pytest.approx(written.int8.score)
    assert written.int8.score >= 0.985
    assert "real, none of them calibrated with" in written.proof["compared"]
    model = core().read_model(written.path)
    weights = [
        node.output(0).element_type.to_string() for node in model.get_ops() if node.get_type_name() == "Constant"
    ]
    assert "int8_t" in weights or "i8" in weights
    assert json.loads(json.dumps(written.to_dict()))["int8"]["layers"] == written.int8.layers == 5
    floats = fb.export(plain_net, tmp_path / "floats.xml", size=32)
    assert floats.int8 is None
    assert written.path.with_suffix(".bin").stat().st_size < floats.path.with_suffix(".bin").stat().st_size / 2


@pytest.mark.slow
def test_a_file_that_loses_more_than_is_allowed_is_not_written(
    plain_net: nn.Sequential, train: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = FORMATS["openvino"]

    def half_wrong(path: Path) -> Runner:
        run = form.load(path)
        # the first images are right, some of those that follow are not
        return lambda images: run(images) if len(images) <= REAL_IMAGES else run(images).roll(1, 1)

    monkeypatch.setattr(export, "FORMATS", {"openvino": replace(form, load=half_wrong)})
    with pytest.raises(InputError, match=r"nothing was written: on \d.* of the images that were not"):
        fb.export(plain_net, tmp_path / "net.xml", size=32, precision="int8", calibration=train[0][:100])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "wishes", "message"),
    [
        ("net.onnx", {"precision": "int8", "calibration": torch.zeros(2, 1, 32, 32)}, "not allowed for onnx files: op"),
        ("net.xml", {"precision": "int8"}, "go together"),
        ("net.xml", {"calibration": torch.zeros(2, 1, 32, 32)}, "go together"),
        ("net.xml", {"precision": "int4"}, r"precision='int4' is not allowed \(did you mean 'int8'"),
        ("net.xml", {"precision": "int8", "calibration": torch.zeros(2, 3, 32, 32)}, "calibration=.* is not allowed"),
    ],
)
def test_files_in_integers_that_cannot_be(
    name: str, wishes: dict[str, Any], message: str, plain_net: nn.Sequential, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        fb.export(plain_net, tmp_path / name, size=32, **wishes)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_worst_layer_stays_in_float(
    plain_net: nn.Sequential, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]
) -> None:
    hostile = nn.Sequential(*plain_net)
    first, second = nn.Conv2d(1, 16, 4, 4), nn.Conv2d(16, 24, 3, 2, 1)
    first.load_state_dict(plain_net[0].state_dict())
    second.load_state_dict(plain_net[2].state_dict())
    hostile[0], hostile[2] = first, second
    with torch.no_grad():  # the same function; but beside such a channel the others round to zero
        active = int(plain_net[1](plain_net[0](train[0][:64])).mean((0, 2, 3)).argmax())
        first.weight[active] *= 1e4
        assert first.bias is not None
        first.bias[active] *= 1e4
        second.weight[:, active] /= 1e4
    assert right(hostile, held_out) == pytest.approx(right(plain_net, held_out), abs=0.003)
    graph = rewritten(hostile, train[0])
    said: list[str] = []
    result = quantized(graph, train[0][:100], score=lambda run: right(run, held_out), max_drop=0.05, log=said.append)
    assert result.report.kept_float[0] == "Convolution 2"
    assert max(result.report.layer_errors, key=lambda name: result.report.layer_errors[name]) == "Convolution 2"
    assert result.report.float_score - result.report.score <= 0.05
    assert len(said) >= 2
    all_int8 = float(said[0].split("score ")[1].split(",")[0])
    assert all_int8 < result.report.float_score - 0.3


@pytest.mark.slow
def test_a_score_that_never_holds_is_refused(plain_net: nn.Sequential, train: tuple[Tensor, Tensor]) -> None:
    scores = iter([0.9, *[0.4] * 9])

    def score(run: Runner) -> float:
        return next(scores)

    with pytest.raises(InputError, match=r"max_drop=0.01 does not hold: int8 scores 0.4000, float 0.9000, with 2 of 5"):
        quantized(rewritten(plain_net, train[0]), train[0][:8], score=score)


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        (
            torch.zeros(0, 1, 32, 32),
            r"calibration=\(0, 1, 32, 32\) is not allowed: images \(N, 1, 32, 32\), N 1 or more",
        ),
        (torch.zeros(4, 1, 24, 24), r"calibration=\(4, 1, 24, 24\) is not allowed"),
        (torch.zeros(4, 3, 32, 32), r"calibration=\(4, 3, 32, 32\) is not allowed"),
        (torch.zeros(1, 32, 32), r"calibration=\(1, 32, 32\) is not allowed"),
        (torch.full((2, 1, 32, 32), torch.nan), "finite float values"),
        (torch.zeros(2, 1, 32, 32, dtype=torch.uint8), "finite float values"),
    ],
)
def test_calibration_that_does_not_fit_is_refused(
    plain_net: nn.Sequential, train: tuple[Tensor, Tensor], calibration: Tensor, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        quantized(rewritten(plain_net, train[0]), calibration)


@pytest.mark.slow
def test_signals_are_safe_after_openvino_and_nncf() -> None:
    """A stack for signals that a closed core leaves behind would end Python at the next one."""
    script = """
import faulthandler, gc, signal
faulthandler.enable()
import torch
from torch import nn
from featherbone.deploy.engines import openvino
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.fidelity import Reference
from featherbone.deploy.quantize import Calibration, quantized
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.Flatten(), nn.Linear(72, 5))
images = torch.randn(8, 3, 16, 16)
graph = rewritable(captured(model, images))
for _ in range(2):
    openvino.precisions()
    run = openvino.start(openvino.translate(graph, images), images, "f32", 1)
    other = quantized(graph, images, max_drop=1)
    run(images)
    gc.collect()
    signal.raise_signal(signal.SIGUSR1)
del run, other
gc.collect()
signal.raise_signal(signal.SIGUSR1)
assert len(heard) == 3
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_named(
    plain_net: nn.Sequential, train: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(InputError, match=r"quantizing needs the package 'nncf': pip install 'featherbone\[export\]'"):
        quantized(rewritten(plain_net, train[0]), train[0][:8])


@pytest.mark.slow
def test_int8_is_one_of_the_ways_to_optimize(
    plain_net: nn.Sequential, train: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = train[0][:64]
    with pytest.raises(InputError, match="precision='int8' needs calibration"):
        optimize_network(plain_net, images[:4], precisions=("int8",), threads=1)
    fast = optimize_network(
        plain_net, images[:4], engines=("openvino",), precisions=("f32", "int8"), calibration=images, threads=1
    )
    assert {way.precision for way in fast.report.candidates if way.timing} == {"f32", "int8"}


def test_calibration_images_come_from_a_folder(tmp_path: Path) -> None:
    for number, photograph in enumerate(photographs()):
        Image.fromarray(photograph).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    like = torch.zeros(1, 3, 48, 48)
    assert folder_inputs(tmp_path, None, like).shape == (len(photographs()), 3, 48, 48)
    assert len(folder_inputs(tmp_path, None, like, most=1)) == 1
    with pytest.raises(InputError, match="no image that can be read"):
        folder_inputs(tmp_path / "notes.txt", None, like)


@pytest.mark.parametrize("kind", ["one", "copies", "black", "nearly copies", "many of few"])
def test_images_of_too_few_contents_are_no_calibration(kind: str, plain_net: nn.Sequential, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 1, 32, 32, generator=generator)
    few = torch.randn(49, 1, 32, 32, generator=generator)
    given = {
        "one": image,
        "copies": image.repeat(100, 1, 1, 1),
        "black": torch.zeros(100, 1, 32, 32),
        "nearly copies": image + 1e-4 * torch.randn(100, 1, 32, 32, generator=generator),
        "many of few": few.repeat(6, 1, 1, 1),
    }[kind]
    different = 49 if kind == "many of few" else 1
    sentence = f"calibration has {len(given)} image.*, {different} of different content: 50 or more .*, 100 to 300 are"
    with pytest.raises(InputError, match=sentence):
        fb.export(plain_net, tmp_path / "net.xml", size=32, precision="int8", calibration=given)
    with pytest.raises(InputError, match=sentence):
        fb.optimize(plain_net, 32, engine="openvino", precision="int8", calibration=given)
    assert not list(tmp_path.iterdir())


def test_scales_and_judgement_share_no_image(train: tuple[Tensor, Tensor]) -> None:
    given = torch.cat([train[0][:60], train[0][:60]])
    scale, check = Calibration.of(given, given)
    assert len(scale) == len(check) == 30
    assert not {tuple(image.flatten().tolist()) for image in scale} & {tuple(i.flatten().tolist()) for i in check}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda right: right.mean(0).expand_as(right),
        lambda right: right[:, [1, 0, *range(2, 10)]],
        lambda right: right.roll(1, 0),
        lambda right: torch.cat([right[:7], right[:1] * -1, right[8:]]),
        lambda right: right * (torch.arange(10) > 0),
        lambda right: right + right.std(),
        lambda right: right.index_fill(0, torch.tensor([3]), torch.nan),
        lambda right: right.half() * 1e5,
    ],
)
def test_wrong_engines_are_refused_in_integers_too(
    wrong: Callable[[Tensor], Tensor], plain_net: nn.Sequential, train: tuple[Tensor, Tensor]
) -> None:
    images = train[0][:32]
    reference = Reference(plain_net, rewritable(captured(plain_net, images)), images)
    with torch.no_grad():
        right = plain_net(images)
    rounded = right + 0.1 * right.std(0) * torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    reference.compared_coarsely([rounded], "int8")
    with pytest.raises(InputError, match="of the variation over the samples"):
        reference.compared_coarsely([wrong(rounded).float()], "int8")
