"""The machine a figure comes from, and how fast it multiplies and copies."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from featherbone.cost.measurement.setting import Setting


@dataclass(frozen=True)
class Machine:
    """Provenance of a measurement.

    Attributes:
        processor: its name.
        instructions: the widest vector instructions that PyTorch uses on it.
        cores: cores that this process may use.
        accelerator: name of the GPU, if the device is one.
        system: operating system.
        python: its version.
        torch: its version.
        date: when, in UTC.
    """

    processor: str
    instructions: str
    cores: int
    accelerator: str
    system: str
    python: str
    torch: str
    date: str


@dataclass(frozen=True)
class Rates:
    """What the machine reaches at most, as measured under a setting.

    Attributes:
        flops: floating-point operations a second of a large matrix product (a multiply-accumulate is two).
        bytes: bytes a second, read and written, of a large copy.
    """

    flops: float
    bytes: float


def usable_cores() -> int:
    """Return how many cores this process may use."""
    # elsewhere a process cannot be asked which cores it is bound to
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def machine(device: str = "cpu") -> Machine:
    """Return where we are."""
    return Machine(
        processor=_processor(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        cores=usable_cores(),
        accelerator=torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        date=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M"),
    )


def rates(setting: Setting, *, seconds: float = 0.5) -> Rates:
    """Measure the matrix rate and the copy rate under a setting: the best of many runs, each about ``seconds``."""
    large = setting.device != "cpu"
    side = 4096 if large else 1024
    left = setting.image(1).new_ones(side, side)
    source = left.new_ones((256 if large else 64) * 2**20 // left.element_size())
    target = torch.empty_like(source)
    with setting.pinned():
        product = _best(lambda: left @ left, setting, seconds)
        copy = _best(lambda: target.copy_(source), setting, seconds)
    return Rates(2 * side**3 / product, 2 * source.numel() * source.element_size() / copy)


def _best(run: Callable[[], object], setting: Setting, seconds: float) -> float:
    run()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        setting.wait()
        start = time.perf_counter()
        run()
        setting.wait()
        best = min(best, time.perf_counter() - start)
    return best


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
