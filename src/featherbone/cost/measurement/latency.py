"""Latency, with its spread: every network once a round, so that a machine that drifts favours none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from featherbone.cost.measurement.setting import Setting
from featherbone.errors import InputError, first_line


@dataclass(frozen=True)
class Timing:
    """Milliseconds a batch takes.

    Attributes:
        median_ms: half of the runs took less.
        p10_ms: a tenth took less.
        p90_ms: a tenth took more.
        p99_ms: a hundredth took more.
        runs: how many there were.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    p99_ms: float
    runs: int

    @property
    def spread(self) -> float:
        """Distance of the tenths, as a share of the median."""
        return (self.p90_ms - self.p10_ms) / self.median_ms


def measure(
    networks: Mapping[str, nn.Module],
    setting: Setting,
    *,
    channels: int | Mapping[str, int] = 3,
    rounds: int = 30,
    warm_up: int = 3,
    between: Callable[[int], None] = lambda _: None,
) -> dict[str, Timing]:
    """Time networks side by side.

    Args:
        networks: modules by name; they are moved to the setting's device, precision and memory order.
        setting: what they are run under.
        channels: of the images.
        rounds: how often each network runs.
        warm_up: runs of each that do not count.
        between: called with the number of the round after each, for a progress bar.

    Raises:
        InputError: if there is nothing to measure, or a network does not run under the setting.
    """
    if rounds < 1 or not networks:
        raise InputError(f"rounds={rounds} of {len(networks)} networks is not allowed: 1 or more each")
    ready = {name: setting.prepared(module) for name, module in networks.items()}
    widths = {name: channels if isinstance(channels, int) else channels[name] for name in networks}
    images = {width: setting.image(width) for width in set(widths.values())}
    times: dict[str, list[float]] = {name: [] for name in networks}
    with setting.pinned():
        for name, module in ready.items():
            try:
                for _ in range(warm_up):
                    module(images[widths[name]])
                setting.wait()
            except (RuntimeError, NotImplementedError) as error:
                raise InputError(
                    f"{name} does not run in {setting.precision} on {setting.device}: {first_line(error)}"
                ) from error
        for number in range(rounds):
            for name, module in ready.items():
                image = images[widths[name]]
                setting.wait()
                start = time.perf_counter()
                module(image)
                setting.wait()
                times[name].append((time.perf_counter() - start) * 1e3)
            between(number)
    return {name: timing(values) for name, values in times.items()}


def timing(values: Sequence[float]) -> Timing:
    """Return the statistics of runs, given in milliseconds."""
    p10, median, p90, p99 = np.percentile(values, (10, 50, 90, 99)).tolist()
    return Timing(median, p10, p90, p99, len(values))
