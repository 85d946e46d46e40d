"""What a search for the fastest form found, in words and on disk."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from featherbone.cost.measurement import Timing, machine
from featherbone.deploy.variants import Variant
from featherbone.errors import InputError
from featherbone.files import cache_folder, read_json, typed, write_json

Way = tuple[str, str, Variant]


@dataclass(frozen=True)
class Candidate:
    """One way to run the network.

    Attributes:
        engine: its name.
        precision: what it computes in.
        variant: which of the network's equal forms it runs.
        timing: how long a batch took; ``None`` if it does not run or its outputs are too far away.
        error: largest difference of an output, as a share of what it is judged by (its channel's variation over the
            samples; of a detector 1 and the sides of boxes).
        problem: why there is no timing.
    """

    engine: str
    precision: str
    variant: Variant
    timing: Timing | None = None
    error: float | None = None
    problem: str = ""

    @property
    def way(self) -> Way:
        """What identifies it."""
        return self.engine, self.precision, self.variant

    @property
    def name(self) -> str:
        """Engine, precision and form in words."""
        return f"{self.engine} {self.precision}, {self.variant}"

    @property
    def milliseconds(self) -> float:
        """The median, infinite without a timing."""
        return self.timing.median_ms if self.timing else float("inf")


@dataclass(frozen=True)
class OptimizeReport:
    """What was tried, and what was chosen.

    Attributes:
        candidates: every way, in the order in which they were tried.
        chosen: the fastest that is proven close.
        plain: the fastest way to run the network as it was given.
        applied: how often each rewrite applied in the chosen form.
        channels: of the images.
        size: (height, width) of the images.
        batch: images at a time.
        threads: threads of the processor.
        machine: where it was measured.
        remembered: whether the choice was read from the cache; then only the chosen way was built and proven again.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    plain: Candidate
    applied: Mapping[str, int]
    channels: int
    size: tuple[int, int]
    batch: int
    threads: int
    machine: Mapping[str, Any]
    remembered: bool = False

    @property
    def speedup(self) -> float:
        """How many times faster the chosen way is than the fastest with the network as it was given."""
        return self.plain.milliseconds / self.chosen.milliseconds

    @property
    def verdict(self) -> str:
        """The choice in a sentence."""
        chosen = f"{self.chosen.name}: {self.chosen.milliseconds:.2f} ms"
        if not self.chosen.variant.rewritten:
            return f"{chosen}; no rewritten form is faster here"
        return f"{chosen}, {self.speedup:.2f} times as fast as the network as given ({self.plain.name})"

    def __str__(self) -> str:
        lines = [f"{'ms':>9} {'p10':>8} {'p90':>8} {'error':>8}  way"]
        for way in sorted(self.candidates, key=lambda way: way.milliseconds):
            if way.timing is None:
                lines.append(f"{'-':>9} {'-':>8} {'-':>8} {'-':>8}  {way.name}: {way.problem}")
                continue
            time = way.timing
            mark = "  <- chosen" if way.way == self.chosen.way else ""
            lines.append(
                f"{time.median_ms:9.3f} {time.p10_ms:8.3f} {time.p90_ms:8.3f} {way.error:8.1e}  {way.name}{mark}"
            )
        return "\n".join([*lines, self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def remember(question: object, report: OptimizeReport) -> bool:
    """Keep a report for this machine; return whether that was possible."""
    try:
        write_json(_file(question), report.to_dict())
    except InputError:
        return False
    return True


def recall(question: object) -> OptimizeReport | None:
    """Return the report that is kept for a question on this machine; ``None`` if there is none.

    One that cannot be read is passed over with a warning: the answer is measured again, and kept anew.
    """
    path = _file(question)
    if not path.exists():
        return None
    try:
        return typed(read_json(path), OptimizeReport, path)
    except InputError as error:
        warnings.warn(f"{error}; this is measured again", stacklevel=2)
        return None


def _file(question: object) -> Path:
    here = machine()
    asked = repr((question, here.processor, here.cores, _versions())).encode()
    return cache_folder() / "optimize" / f"{hashlib.sha256(asked).hexdigest()[:32]}.json"


def _versions() -> list[str]:
    """Return the versions of what decides how fast a form is: other ones are measured anew."""
    found = []
    for package in ("featherbone", "torch", "openvino", "onnxruntime"):
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("")
    return found
