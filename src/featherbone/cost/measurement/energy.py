"""Energy per image, from the machine's own counters or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from featherbone.cost.measurement.setting import Setting
from featherbone.errors import first_line

_RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Energy:
    """Joules an image takes.

    Attributes:
        joules: of the whole device (processor package or GPU) while running; ``None`` if it cannot be measured here.
        source: the counters it comes from, or why there is no figure.
    """

    joules: float | None
    source: str


def energy(run: Callable[[], object], setting: Setting, *, seconds: float = 3.0) -> Energy:
    """Run for a while, and read NVML's (CUDA) or RAPL's (processor) counters before and after, by the zeus library.

    The figure is the device's whole energy, its idle share included. Nothing is ever estimated.
    """
    cuda = setting.device.startswith("cuda")
    if setting.device.startswith("mps"):
        return Energy(None, "not measurable here, because zeus reads Apple's counters as administrator only")
    if not cuda and not any(_RAPL.glob("intel-rapl:*/energy_uj")):
        return Energy(None, f"not measurable here, because the processor's counters (RAPL, {_RAPL}) are not offered")
    try:
        from zeus.monitor import ZeusMonitor
    except ModuleNotFoundError as error:
        needed = f"{error.name!r} is not installed: pip install 'featherbone[energy]'"
        return Energy(None, f"not measurable here, because the package {needed}")
    try:
        monitor = ZeusMonitor(gpu_indices=[_gpu(setting)], cpu_indices=[]) if cuda else ZeusMonitor(gpu_indices=[])
        images = 0
        monitor.begin_window("run")
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            run()
            images += setting.batch
        setting.wait()
        window = monitor.end_window("run")
    except Exception as error:  # noqa: BLE001 - drivers and permissions fail in many ways; there is no figure then
        return Energy(None, f"not measurable here, because {first_line(error)}")
    joules = sum(((window.gpu_energy if cuda else window.cpu_energy) or {}).values())
    if not joules:
        return Energy(None, "not measurable here, because the counters did not move")
    return Energy(joules / images, "NVML, the GPU" if cuda else "RAPL, the processor's packages")


def _gpu(setting: Setting) -> int:
    """Return the number of the setting's GPU; "cuda" alone is PyTorch's current one."""
    index = torch.device(setting.device).index
    return torch.cuda.current_device() if index is None else index
