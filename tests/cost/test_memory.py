"""Live memory: the allocator's own peak, of an inference and of a training step."""

from dataclasses import replace

import pytest
import torch
from helpers.families import slow_but
from torch import Tensor, nn

import featherbone as fb
from featherbone.cost.measurement import measured_peak
from featherbone.cost.measurement.setting import Setting

# one of every family; with channels last, and maps that are not tiny, the engine needs no copies of its own
PEAKS = (
    "densenet121",
    "peleenet",
    "cspresnet50",
    "cspdarknet53",
    "cspdarknet_nano.yolox",
    "vovnet27_slim",
    "vovnet_v2_19_slim_dw",
    "shufflenet_v1_g3_x0_5",
    "shufflenet_v2_x0_5",
    "rdnet_tiny",
)


@pytest.mark.parametrize("name", slow_but(PEAKS, ("densenet121", "cspdarknet_nano.yolox", "shufflenet_v2_x0_5")))
def test_the_live_peak_is_the_allocators(name: str) -> None:
    setting = Setting(size=(224, 224))
    model = setting.prepared(fb.create_model(name))
    image = setting.image(3)
    with setting.pinned():
        model(image)
        measured = measured_peak(lambda: model(image), setting)
    live = fb.cost(model, 224).peak_bytes - image.numel() * 4  # the image was there before
    assert live == pytest.approx(measured, rel=0.02)


def training_peaks(model: nn.Module, setting: Setting) -> tuple[int, int]:
    """Return the bytes of a training step beyond weights and image: predicted, and the allocator's."""
    image = setting.image(3)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(image).sum().backward()

    step()
    model.zero_grad(set_to_none=True)
    measured = measured_peak(step, setting)
    peak = fb.cost(model, setting.size, batch=setting.batch, training=True).training_peak
    assert peak
    assert measured
    return peak.bytes - image.numel() * 4, measured


def test_a_training_steps_live_peak_is_the_allocators() -> None:
    """Where the engine takes little memory inside its operations."""
    setting = Setting(size=(96, 96), batch=2)
    model = setting.prepared(fb.create_model("shufflenet_v1_g3_x0_5", num_classes=10)).train()
    live, measured = training_peaks(model, setting)
    assert live == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("recomputed", [False, True])
def test_so_is_that_of_a_dense_network_recomputed_or_not(recomputed: bool) -> None:
    row = replace(fb.spec("densenet_bc100_k12_cifar"), layers=(6, 6, 6))  # type: ignore[call-arg]
    setting = Setting(size=(32, 32), batch=4)
    model = setting.prepared(row.build()).train()
    live, measured = training_peaks(fb.recompute(model) if recomputed else model, setting)
    assert live == pytest.approx(measured, rel=0.01)


@pytest.mark.slow
def test_training_memory_grows_with_the_square_of_depth_and_linearly_when_recomputed() -> None:
    def peak(layers: int, *, recomputed: bool) -> int:
        row = replace(fb.spec("densenet40_k12_cifar"), layers=(layers,))  # type: ignore[call-arg]
        with torch.device("meta"):
            model = row.build()
        found = fb.cost(fb.recompute(model) if recomputed else model, 32, training=True).training_peak
        assert found
        return found.bytes

    plain = [peak(n, recomputed=False) for n in (16, 32, 64)]
    again = [peak(n, recomputed=True) for n in (16, 32, 64)]
    assert plain[2] - plain[1] > 3.2 * (plain[1] - plain[0])  # a square grows four times as much
    assert again[2] - again[1] < 2.4 * (again[1] - again[0])  # a line twice as much
    assert again[2] < plain[2] / 4


def test_memory_that_python_holds_counts_and_what_it_lets_go_does_not() -> None:
    class Keeps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = x + 1
            second = first + 1
            del first
            third = second + 1
            return third + second

    # the image, and of the four sums at most three at once
    assert fb.cost(Keeps(), 8, in_chans=1).peak_bytes == 4 * 8 * 8 * 4
