"""Measurements: in turn, under one setting, of the device that was named."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

import featherbone as fb
from featherbone.cost.measurement import energy, machine, measure, rank_correlation, rates
from featherbone.cost.measurement.race import race
from featherbone.cost.measurement.setting import Setting


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert rank_correlation(first, second) == 0
    else:
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_networks_run_in_turn_and_threads_are_given_back() -> None:
    order: list[str] = []

    class Says(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            order.append(self.name)
            assert torch.get_num_threads() == 1
            assert torch.is_inference_mode_enabled()
            return x

    threads = torch.get_num_threads()
    networks = {"a": Says("a"), "b": Says("b")}
    found = measure(networks, Setting(size=(4, 4), threads=1), rounds=3, warm_up=1)
    assert "".join(order) == "abababab"
    assert found["a"].runs == 3
    assert torch.get_num_threads() == threads


def test_rates_and_machine_are_plausible() -> None:
    reached = rates(Setting(size=(4, 4)), seconds=0.05)
    assert 1e8 < reached.flops < 1e16
    assert 1e8 < reached.bytes < 1e14
    assert machine().cores >= 1


def test_what_stops_a_network_is_named_even_if_it_says_nothing() -> None:
    class Silent(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError

    with pytest.raises(fb.InputError, match="m does not run in f32 on cpu: RuntimeError"):
        measure({"m": Silent()}, Setting(size=(4, 4)))
    with pytest.raises(fb.InputError, match="RuntimeError"):
        fb.cost(Silent(), 8)


def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch see two GPUs, of which the second is the current one."""
    for name, answer in {"device_count": 2, "current_device": 1, "synchronize": None}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)


def test_a_gpu_that_is_not_there_is_refused_with_how_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    two_gpus(monkeypatch)
    assert Setting(size=(4, 4), device="cuda:1").device == "cuda:1"
    for device in ("cuda:2", "cuda:", "cuda:x", "cuda:-1"):
        with pytest.raises(fb.InputError, match=f"device='{device}' is not here: cuda devices are 2, counted from 0"):
            Setting(size=(4, 4), device=device)


@pytest.mark.parametrize(("device", "index"), [("cuda:0", 0), ("cuda:1", 1), ("cuda", 1)])
def test_the_energy_is_that_of_the_settings_gpu(device: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Monitor:
        def __init__(self, gpu_indices: list[int], cpu_indices: list[int]) -> None:
            assert not cpu_indices
            self.gpus = gpu_indices

        def begin_window(self, _: str) -> None: ...

        def end_window(self, _: str) -> Any:
            return SimpleNamespace(gpu_energy={gpu: 10.0 + gpu for gpu in self.gpus}, cpu_energy=None)

    two_gpus(monkeypatch)
    monkeypatch.setitem(sys.modules, "zeus", ModuleType("zeus"))
    monkeypatch.setitem(sys.modules, "zeus.monitor", cast("ModuleType", SimpleNamespace(ZeusMonitor=Monitor)))
    images: list[None] = []
    found = energy(lambda: images.append(None), Setting(size=(4, 4), device=device), seconds=0.01)
    assert found.joules == pytest.approx((10 + index) / len(images))
    assert found.source == "NVML, the GPU"


def test_energy_is_measured_or_explained() -> None:
    found = energy(lambda: None, Setting(size=(4, 4)), seconds=0.05)
    assert (found.joules is None) == found.source.startswith("not measurable here, because ")


def test_a_race_gives_turns_and_counts_only_timed_runs() -> None:
    calls: list[str] = []
    images = torch.zeros(1)
    runners = {name: lambda _, name=name: calls.append(name) for name in ("first", "second")}
    times = race(runners, images, rounds=3, in_a_row=2, warm_up=1)
    assert calls == (["first"] * 3 + ["second"] * 3) * 3
    assert {timing.runs for timing in times.values()} == {6}
    calls.clear()
    race(runners, images, rounds=50, in_a_row=1, warm_up=0, most_seconds=0)
    assert calls == ["first", "second"] * 2
