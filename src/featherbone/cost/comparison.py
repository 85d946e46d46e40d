"""What came of a comparison: networks, grouped by the setting that they were measured under."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any

from featherbone.cost.measurement import Energy, Machine, Rates, Timing, rank_correlation
from featherbone.cost.measurement.setting import Setting

AXES = ("params", "macs", "traffic_bytes", "cio", "activations", "peak_bytes", "bound_ms")


@dataclass(frozen=True)
class Entry:
    """One network under one setting.

    Attributes:
        name: the network.
        params: trainable values.
        macs: multiply-accumulates of a batch.
        traffic_bytes: bytes that its operations move.
        cio: elements in and out of convolutions and pools.
        activations: elements that convolutions emit.
        peak_bytes: live memory at most, without weights, worked out.
        measured_peak_bytes: the allocator's own peak; ``None`` on MPS, where it is not known.
        bound_ms: the roofline: no layer can be faster than the machine multiplies, or copies, what it must.
        memory_bound: share of that time in which copying is the limit.
        timing: what it took.
        energy: what it used, or why that is not known.
        stages: costs by stage.
        layers: macs and bytes by layer.
    """

    name: str
    params: int
    macs: int
    traffic_bytes: int
    cio: int
    activations: int
    peak_bytes: int
    measured_peak_bytes: int | None
    bound_ms: float
    memory_bound: float
    timing: Timing
    energy: Energy
    stages: tuple[tuple[str, int, int, int], ...]
    layers: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class ComparisonGroup:
    """Networks under the same setting: only these are ranked together.

    Attributes:
        setting: what they ran under.
        rates: what the machine reaches under it.
        entries: the networks, fastest first.
    """

    setting: Setting
    rates: Rates
    entries: tuple[Entry, ...]

    def correlations(self) -> dict[str, float]:
        """Return how well each cost ranks the times: Spearman's coefficient, 1 for the same order."""
        times = [entry.timing.median_ms for entry in self.entries]
        return {axis: rank_correlation([getattr(entry, axis) for entry in self.entries], times) for axis in AXES}

    def speed(self, entry: Entry) -> dict[str, float]:
        """Return images and operations a second, and the share of the machine's matrix rate."""
        seconds = entry.timing.median_ms / 1e3
        flops = 2 * entry.macs / seconds
        images = self.setting.batch / seconds
        return {"images_per_s": images, "gflops": flops / 1e9, "of_peak": flops / self.rates.flops}


@dataclass(frozen=True)
class Comparison:
    """Networks measured side by side.

    Attributes:
        machine: where.
        groups: the networks under each setting.
    """

    machine: Machine
    groups: tuple[ComparisonGroup, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "machine": asdict(self.machine),
            "groups": [
                {
                    "setting": {**asdict(group.setting), "size": list(group.setting.size)},
                    "rates": asdict(group.rates),
                    "correlations": group.correlations(),
                    "entries": [
                        {
                            **asdict(entry),
                            **group.speed(entry),
                            "spread": entry.timing.spread,
                            "stages": [list(row) for row in entry.stages],
                            "layers": [list(row) for row in entry.layers],
                        }
                        for entry in group.entries
                    ],
                }
                for group in self.groups
            ],
        }

    def to_csv(self) -> str:
        """Return one line a network and setting, with everything that a line depends on."""
        rows = [self._row(group, entry) for group in self.groups for entry in group.entries]
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def _row(self, group: ComparisonGroup, entry: Entry) -> dict[str, Any]:
        height, width = group.setting.size
        return {
            "name": entry.name,
            **{axis: getattr(entry, axis) for axis in AXES},
            "measured_peak_bytes": entry.measured_peak_bytes,
            **asdict(entry.timing),
            **group.speed(entry),
            "joules_per_image": entry.energy.joules,
            **asdict(group.setting),
            "size": f"{height}x{width}",
            **asdict(self.machine),
        }
