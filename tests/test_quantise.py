"""Eight-bit integers: close to float on real digits, one scale where maps are joined, and layers that stay in float."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.fx import GraphModule

import featherbone as fb
from featherbone.data.bundled import digits, photographs
from featherbone.data.sets import ImageSet
from featherbone.deploy.engines import Runner
from featherbone.deploy.forms import Form
from featherbone.deploy.optimize import optimize_network
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.quantise import concat_scales, quantised
from featherbone.errors import InputError
from featherbone.models.densenet import DenseNetSpec
from featherbone.verbs.proof import inputs_of

# PyTorch speaks of its own older interfaces where NNCF imports it
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def stacked(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Return images at 32 pixels, ``(N, 1, 32, 32)``, and labels."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images.sources])).float() / 255
    grown = pixels.reshape(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return (grown - 0.3) / 0.35, torch.tensor(images.labels)


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
    return Form().of(rewritable(captured(model, images)))[0]


@pytest.fixture(scope="module")
def plain_net(train: tuple[Tensor, Tensor]) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))
    fitted(model, train, 8)
    return model


def test_int8_is_close_to_float_on_real_digits(
    train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    row = replace(fb.spec("shufflenet_v2_x0_5"), num_classes=10, in_chans=1, stem_stride=4)
    model = fitted(row.build(), train, 4)
    graph = rewritten(model, train[0])
    result = quantised(graph, train[0][:64], score=lambda run: right(run, held_out), largest_drop=0.03)
    assert result.kept_float == ()
    assert result.float_score == pytest.approx(right(model, held_out), abs=0.003)
    assert result.float_score > 0.6
    assert "0 of " in str(result)
    # every convolution and the classifier has an error of its own, most of them of a few hundredths
    assert len(result.layer_errors) == result.layers > 50
    assert all(0 < error < 1 for error in result.layer_errors.values())
    assert median(result.layer_errors.values()) < 0.1
    scales = concat_scales(result.model)
    assert len(scales) == 16
    assert all(len(ranges) == 1 for ranges in scales.values())
    assert capfd.readouterr().out == ""


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
    result = quantised(rewritten(model, tiles), tiles[:32], largest_drop=0.1)
    scales = concat_scales(result.model)
    assert len(scales) == 9
    assert all(len(ranges) == 1 for ranges in scales.values())
    # the three blocks are not joined with each other
    assert len(set(scales.values())) == 3
    assert (result.runner(1)(tiles) - wanted).norm() / wanted.norm() < 0.3


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
    result = quantised(
        graph, train[0][:100], score=lambda run: right(run, held_out), largest_drop=0.05, say=said.append
    )
    assert result.kept_float[0] == "Convolution 2"
    assert max(result.layer_errors, key=lambda name: result.layer_errors[name]) == "Convolution 2"
    assert result.float_score - result.score <= 0.05
    assert len(said) >= 2
    all_int8 = float(said[0].split("score ")[1].split(",")[0])
    assert all_int8 < result.float_score - 0.3


def test_a_score_that_never_holds_is_refused(plain_net: nn.Sequential, train: tuple[Tensor, Tensor]) -> None:
    scores = iter([0.9, *[0.4] * 9])

    def score(run: Runner) -> float:
        return next(scores)

    with pytest.raises(
        InputError, match=r"largest_drop=0.01 does not hold: int8 scores 0.4000, float 0.9000, with 2 of 5"
    ):
        quantised(rewritten(plain_net, train[0]), train[0][:8], score=score)


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
        quantised(rewritten(plain_net, train[0]), calibration)


def test_a_missing_package_is_named(
    plain_net: nn.Sequential, train: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(InputError, match=r"quantising needs the package 'nncf': pip install 'featherbone\[export\]'"):
        quantised(rewritten(plain_net, train[0]), train[0][:8])


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
    assert {way.precision for way in fast.report.tried if way.timing} == {"f32", "int8"}


def test_calibration_images_come_from_a_folder(tmp_path: Path) -> None:
    for number, photograph in enumerate(photographs()):
        Image.fromarray(photograph).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    like = torch.zeros(1, 3, 48, 48)
    assert inputs_of(tmp_path, None, like).shape == (len(photographs()), 3, 48, 48)
    assert len(inputs_of(tmp_path, None, like, most=1)) == 1
    with pytest.raises(InputError, match="no image that can be read"):
        inputs_of(tmp_path / "notes.txt", None, like)
