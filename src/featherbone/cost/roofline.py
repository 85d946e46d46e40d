"""The roofline: what the parts of a network cannot be faster than on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from featherbone.cost.counts import By, Cost
from featherbone.cost.measurement import Rates, rates, usable_cores
from featherbone.cost.measurement.setting import Setting
from featherbone.errors import check_type


@dataclass(frozen=True)
class Bound:
    """What a part cannot be faster than on this machine.

    Attributes:
        name: stage, layer or operation.
        compute_ms: what its operations take at the machine's matrix rate.
        memory_ms: what its bytes take at the machine's copy rate.
    """

    name: str
    compute_ms: float
    memory_ms: float

    @property
    def bound_ms(self) -> float:
        """The larger of the two."""
        return max(self.compute_ms, self.memory_ms)

    @property
    def binds(self) -> str:
        """Which of the two it is."""
        return "compute" if self.compute_ms >= self.memory_ms else "memory"


def roofline(counted: Cost, reached: Rates | None = None, *, by: By = "layer") -> list[Bound]:
    """Return the lower bounds of a network's parts, from this machine's own matrix and copy rates.

    Args:
        counted: what ``cost`` returned.
        reached: the machine's rates; default: measured now, in float32 with all threads.
        by: what a part is.
    """
    check_type("counted", counted, Cost, "what cost returned")
    if reached is None:
        reached = rates(Setting(size=counted.size, batch=counted.batch, threads=usable_cores()))
    return [
        Bound(row.name, 2e3 * row.macs / reached.flops, 1e3 * row.traffic_bytes / reached.bytes)
        for row in counted.by(by)
    ]
