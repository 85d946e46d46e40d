"""ShuffleNet V2's four guideline experiments (arXiv 1807.11164, sec. 2, Tables 1 to 4), on this machine.

Networks of ten equal blocks at 56x56 with the same operations, which differ in one thing: the ratio of widths (G1), the
groups (G2), the fragments (G3), the element-wise operations (G4). The widths are those of the paper's processor (ARM)
columns. The paper's text leaves two things open, which are decided here: convolutions stand bare except in G4, and the
parallel fragments of G3 are added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

from torch import Tensor, nn

from featherbone.cost.measurement import Machine, Timing, machine, measure, rank_correlation
from featherbone.cost.measurement.setting import Setting
from featherbone.errors import InputError, check_type
from featherbone.layers import Residual

BLOCKS = 10
SIDE = 56


@dataclass(frozen=True)
class Experiment:
    """One table of the paper.

    Attributes:
        guideline: "G1" to "G4".
        question: what differs between the lines.
        lines: names of the lines.
        columns: names of the columns.
        build: the network of a line and a column.
        paper: images a second on the paper's ARM processor, by line and column.
    """

    guideline: str
    question: str
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    build: Callable[[int, int], nn.Module]
    paper: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class GuidelineResult:
    """A table run again.

    Attributes:
        experiment: the paper's table.
        timings: what each line and column took here, batch 1.
        machine: where.
        threads: of the processor.
    """

    experiment: Experiment
    timings: tuple[tuple[Timing, ...], ...]
    machine: Machine
    threads: int

    @property
    def speeds(self) -> tuple[tuple[float, ...], ...]:
        """Images a second, by line and column."""
        return tuple(tuple(1e3 / timing.median_ms for timing in line) for line in self.timings)

    @property
    def agreement(self) -> tuple[float, ...]:
        """For each column, the rank correlation of our speeds with the paper's."""
        columns = range(len(self.experiment.columns))
        ours, theirs = self.speeds, self.experiment.paper
        return tuple(rank_correlation([line[c] for line in ours], [line[c] for line in theirs]) for c in columns)


def guidelines(
    *,
    threads: int = 1,
    rounds: int = 15,
    only: str | Sequence[str] = (),
    progress: Callable[[float], None] = lambda _: None,
) -> list[GuidelineResult]:
    """Run the four tables, all networks of a table side by side.

    Args:
        threads: of the processor; the paper's ARM figures are of one.
        rounds: how often each network runs.
        only: guidelines to run, or one of them; default: all.
        progress: called with the share that is done.

    Raises:
        InputError: if a guideline is unknown.
    """
    known = [experiment.guideline for experiment in EXPERIMENTS]
    only = (only,) if isinstance(only, str) else only
    check_type("only", only, (list, tuple), ", ".join(known))
    for name in only:
        if name not in known:
            raise InputError(f"only={name!r} is not allowed: {', '.join(known)}")
    setting = Setting(size=(SIDE, SIDE), threads=threads)
    wanted = [experiment for experiment in EXPERIMENTS if not only or experiment.guideline in only]
    results = []
    for number, experiment in enumerate(wanted):
        cells = [(i, j) for i in range(len(experiment.lines)) for j in range(len(experiment.columns))]
        networks = {f"{i} {j}": experiment.build(i, j) for i, j in cells}
        channels = {name: _first_width(network) for name, network in networks.items()}
        found = measure(networks, setting, channels=channels, rounds=rounds)
        timings = tuple(
            tuple(found[f"{i} {j}"] for j in range(len(experiment.columns))) for i in range(len(experiment.lines))
        )
        results.append(GuidelineResult(experiment, timings, machine(), threads))
        progress((number + 1) / len(wanted))
    return results


class _Sum(nn.Module):
    """Branches side by side, added."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = [branch(x) for branch in self.branches]
        for other in others:
            first = first + other
        return first


def _first_width(network: nn.Module) -> int:
    return next(part.in_channels for part in network.modules() if isinstance(part, nn.Conv2d))


def _pointwise(c_in: int, c_out: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 1, groups=groups, bias=False)


def _stack(block: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(*(block() for _ in range(BLOCKS)))


_RATIOS = ((32, 32), (22, 44), (13, 78), (9, 108))
_GROUPS = ((1, 64), (2, 90), (4, 128), (8, 180))
_SCALES = (1, 2, 4)
_FRAGMENTS = ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4))  # in series, in parallel


def _ratio(line: int, column: int) -> nn.Module:
    first, second = (width * _SCALES[column] for width in _RATIOS[line])
    return _stack(lambda: nn.Sequential(_pointwise(first, second), _pointwise(second, first)))


def _group(line: int, column: int) -> nn.Module:
    groups, width = _GROUPS[line]
    # to the next multiple of the groups: 90 and 180 are not ones of 4 and 8 at every scale
    channels = -(-width * _SCALES[column] // groups) * groups
    return _stack(lambda: _pointwise(channels, channels, groups))


def _fragment(line: int, column: int) -> nn.Module:
    series, parallel = _FRAGMENTS[line]
    # as many operations as one convolution of the full width
    channels = round((64, 128, 256)[column] / sqrt(series * parallel))
    return _stack(
        lambda: _Sum([nn.Sequential(*(_pointwise(channels, channels) for _ in range(series))) for _ in range(parallel)])
    )


def _elementwise(line: int, column: int) -> nn.Module:
    relu, shortcut = ((True, True), (True, False), (False, True), (False, False))[line]
    channels = (32, 64, 128)[column]
    inner = channels // 4

    def block() -> nn.Module:
        parts: list[nn.Module] = []
        for convolution in (
            _pointwise(channels, inner),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            _pointwise(inner, channels),
        ):
            parts += [convolution, *([nn.ReLU(inplace=True)] if relu else [])]
        return Residual(nn.Sequential(*parts)) if shortcut else nn.Sequential(*parts)

    return _stack(block)


EXPERIMENTS = (
    Experiment(
        "G1",
        "ratio of input to output channels",
        ("1:1", "1:2", "1:6", "1:12"),
        ("x1", "x2", "x4"),
        _ratio,
        ((76.2, 21.7, 5.3), (72.9, 20.5, 5.1), (69.1, 17.9, 4.6), (57.6, 15.1, 4.4)),
    ),
    Experiment(
        "G2",
        "groups",
        ("1", "2", "4", "8"),
        ("x1", "x2", "x4"),
        _group,
        ((40.0, 10.2, 2.3), (35.0, 9.5, 2.2), (32.9, 8.7, 2.1), (27.8, 7.5, 1.8)),
    ),
    Experiment(
        "G3",
        "fragments",
        ("1", "2 in series", "4 in series", "2 in parallel", "4 in parallel"),
        ("c=64", "c=128", "c=256"),
        _fragment,
        ((40.2, 10.1, 2.3), (38.6, 10.1, 2.2), (38.4, 10.1, 2.3), (33.4, 9.1, 2.2), (35.0, 8.4, 2.1)),
    ),
    Experiment(
        "G4",
        "element-wise operations",
        ("ReLU and shortcut", "ReLU", "shortcut", "neither"),
        ("c=32", "c=64", "c=128"),
        _elementwise,
        ((56.7, 16.9, 5.0), (61.9, 18.8, 5.2), (57.3, 18.2, 5.1), (66.3, 20.2, 5.4)),
    ),
)
