"""The fastest equal form of a network on this machine: forms x engines x precisions, timed side by side, proven close."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from featherbone.cost.measured import Timing, machine
from featherbone.cost.measured.race import race
from featherbone.deploy.engines import ENGINES, QUICK, Runner
from featherbone.deploy.forms import PLAIN, Form, further
from featherbone.deploy.program import captured, rewritable
from featherbone.errors import InputError, first_line, nearest
from featherbone.files import write_json

# largest difference of an output, as a share of the largest output; rounding in bfloat16 is 1/256 a layer
BOUNDS: Mapping[str, float] = {"f32": 1e-4, "bf16": 5e-2}
# a form must save this much of the time, or the simpler one stays: less is noise
_WORTH = 0.01


@dataclass(frozen=True)
class Tried:
    """One way to run the network.

    Attributes:
        engine: its name.
        precision: what it computes in.
        form: which of the network's equal forms it runs.
        timing: how long a batch took; ``None`` if it does not run or its outputs are too far away.
        error: largest difference of an output, as a share of the largest output.
        problem: why there is no timing.
    """

    engine: str
    precision: str
    form: Form
    timing: Timing | None = None
    error: float | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """Engine, precision and form in words."""
        return f"{self.engine} {self.precision}, {self.form}"

    @property
    def milliseconds(self) -> float:
        """The median, infinite without a timing."""
        return self.timing.median_ms if self.timing else float("inf")


@dataclass(frozen=True)
class OptimizeReport:
    """What was tried, and what was chosen.

    Attributes:
        tried: every way, in the order in which they were tried.
        chosen: the fastest that is proven close.
        plain: the fastest way to run the network as it was given.
        applied: how often each rewrite applied in the chosen form.
        size: (height, width) of the images.
        batch: images at a time.
        threads: threads of the processor.
        machine: where it was measured.
        remembered: whether the choice was read from the cache; then only the chosen way was built and proven again.
    """

    tried: tuple[Tried, ...]
    chosen: Tried
    plain: Tried
    applied: Mapping[str, int]
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
        if not self.chosen.form.rewritten:
            return f"{chosen}; no rewritten form is faster here"
        return f"{chosen}, {self.speedup:.2f} times as fast as the network as given ({self.plain.name})"

    def __str__(self) -> str:
        lines = [f"{'ms':>9} {'p10':>8} {'p90':>8} {'error':>8}  way"]
        for way in sorted(self.tried, key=lambda way: way.milliseconds):
            if way.timing is None:
                lines.append(f"{'-':>9} {'-':>8} {'-':>8} {'-':>8}  {way.name}: {way.problem}")
                continue
            time = way.timing
            mark = "  <- chosen" if (way.engine, way.precision, way.form) == self._key else ""
            lines.append(
                f"{time.median_ms:9.3f} {time.p10_ms:8.3f} {time.p90_ms:8.3f} {way.error:8.1e}  {way.name}{mark}"
            )
        return "\n".join([*lines, self.verdict])

    @property
    def _key(self) -> tuple[str, str, Form]:
        return self.chosen.engine, self.chosen.precision, self.chosen.form

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Optimized:
    """The network on the engine that was chosen: images ``(N, C, H, W)`` in float32 to outputs in float32.

    It works on ``report.batch`` images at a time; other numbers are cut and filled up to that.

    Attributes:
        report: what was tried.
    """

    report: OptimizeReport
    _run: Runner = field(repr=False)

    def __call__(self, images: Tensor) -> Tensor:
        """Run the network.

        Raises:
            InputError: if the images are of another size.
        """
        if images.ndim != 4 or tuple(images.shape[2:]) != self.report.size:
            height, width = self.report.size
            raise InputError(f"images={tuple(images.shape)} is not allowed: (N, C, {height}, {width})")
        return in_batches(self._run, images.float().contiguous(), self.report.batch)


def in_batches(run: Runner, images: Tensor, batch: int) -> Tensor:
    """Run a function that takes exactly ``batch`` images on any number of them."""
    outputs = []
    for part in images.split(batch):
        filled = nn.functional.pad(part, (0, 0, 0, 0, 0, 0, 0, batch - len(part))) if len(part) < batch else part
        outputs.append(run(filled)[: len(part)])
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


def optimize_network(
    module: nn.Module,
    samples: Tensor,
    *,
    batch: int = 1,
    engines: Sequence[str] = QUICK,
    precisions: Sequence[str] | None = None,
    threads: int,
    refresh: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Optimized:
    """Try equal forms of a network on engines in precisions, and keep the fastest that is proven close.

    Args:
        module: images ``(B, C, H, W)`` to one tensor. It is not changed.
        samples: images ``(N, C, H, W)`` of the wanted size, on which every way is compared with the module.
        batch: images at a time.
        engines: names of engines. Those that are not installed are left out.
        precisions: of "f32" and "bf16"; default: all that an engine has here.
        threads: of the processor.
        refresh: measure again, even if the choice for this network, setting and machine is known.
        say: told what is being done.

    Raises:
        InputError: if an argument is not usable, no engine is installed, or nothing gives the network's outputs.
    """
    search = _Search(module, samples, batch, threads, say)
    ways = _ways(engines, precisions)
    remembered = None if refresh else _recall(search, ways)
    if remembered:
        return remembered
    search.compare([(engine, precision, form) for engine, precision in ways for form in (PLAIN, Form())])
    search.refine()
    report = search.report()
    _remember(search, ways, report)
    return Optimized(report, search.runners[report._key])


def _ways(engines: Sequence[str], precisions: Sequence[str] | None) -> list[tuple[str, str]]:
    """Return the engines and precisions that there are of those that are wanted."""
    for name in engines:
        if name not in ENGINES:
            raise InputError(f"engine={name!r} is not allowed{nearest(name, ENGINES)}: auto, {', '.join(ENGINES)}")
    for precision in precisions or ():
        if precision not in BOUNDS:
            raise InputError(f"precision={precision!r} is not allowed{nearest(precision, BOUNDS)}: {', '.join(BOUNDS)}")
    found, missing = [], []
    for name in engines:
        try:
            here = ENGINES[name].precisions()
        except InputError as error:
            missing.append(str(error))
            continue
        found += [(name, precision) for precision in here if precisions is None or precision in precisions]
    if not found:
        wanted = ", ".join(precisions) if precisions else "any precision"
        raise InputError("; ".join(missing) or f"no engine of {', '.join(engines)} computes in {wanted} here")
    return found


_Way = tuple[str, str, Form]


class _Search:
    def __init__(
        self, module: nn.Module, samples: Tensor, batch: int, threads: int, say: Callable[[str], None]
    ) -> None:
        if batch < 1 or threads < 1:
            raise InputError(f"batch={batch}, threads={threads} is not allowed: 1 or more each")
        self.samples, self.batch, self.threads, self.say = samples, batch, threads, say
        self.images = samples[torch.arange(batch) % len(samples)].contiguous()
        self.graph = rewritable(captured(module, samples))
        with torch.inference_mode():
            self.wanted = module(samples)
        if not isinstance(self.wanted, Tensor):
            raise InputError("only networks that give one tensor can be optimized")
        self.scale = float(self.wanted.abs().max())
        self.graphs: dict[Form, GraphModule] = {}
        self.applied: dict[Form, dict[str, int]] = {}
        self.translated: dict[tuple[str, Form], object] = {}
        self.runners: dict[_Way, Runner] = {}
        self.tried: dict[_Way, Tried] = {}

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.samples.shape[2:]
        return height, width

    def form(self, form: Form) -> GraphModule:
        if form not in self.graphs:
            self.graphs[form], self.applied[form] = form.of(self.graph)
        return self.graphs[form]

    def build(self, way: _Way) -> bool:
        """Make one way ready and prove it; whether it may be timed."""
        if way in self.tried:
            return way in self.runners
        name, precision, form = way
        engine = ENGINES[name]
        tried = Tried(name, precision, form)
        self.say(tried.name)
        try:
            if (name, form) not in self.translated:
                self.translated[name, form] = engine.translate(self.form(form), self.samples)
            run = engine.start(self.translated[name, form], self.images, precision, self.threads)
            given = in_batches(run, self.samples, self.batch)
        except Exception as error:  # noqa: BLE001 - engines fail in ways of their own; the others go on
            self.tried[way] = replace(tried, problem=first_line(error))
            return False
        error = float((given - self.wanted).abs().max()) / self.scale if self.scale else float(given.abs().max())
        if not error <= BOUNDS[precision]:  # also refuses NaN
            self.tried[way] = replace(
                tried,
                error=error,
                problem=f"its outputs differ by {error:.1g} of the largest, {BOUNDS[precision]:g} allowed",
            )
            return False
        self.tried[way], self.runners[way] = replace(tried, error=error), run
        return True

    def compare(self, ways: Sequence[_Way], rounds: int = 8) -> None:
        """Time ways side by side."""
        ready = [way for way in ways if self.build(way)]
        self.say(f"timing {len(ready)} ways")
        named = {str(index): self.runners[way] for index, way in enumerate(ready)}
        for index, timing in race(named, self.images, rounds=rounds).items():
            way = ready[int(index)]
            self.tried[way] = replace(self.tried[way], timing=timing)

    def best(self, *, rewritten: bool | None = None) -> _Way:
        """Return the fastest way."""
        allowed = [way for way in self.runners if rewritten is None or way[2].rewritten is rewritten]
        if not allowed:
            problems = "; ".join(f"{tried.name}: {tried.problem}" for tried in self.tried.values())
            raise InputError(f"nothing gives the network's outputs here: {problems}")
        return min(allowed, key=lambda way: self.tried[way].milliseconds)

    def refine(self) -> None:
        """Try further forms on the fastest engine and precision, each against the best so far."""
        engine, precision, _ = self.best()
        current = Form()
        if (engine, precision, current) not in self.runners:
            return
        steps = further(current, self.graph)
        candidate = next(steps, None)
        while candidate is not None:
            ways = [(engine, precision, form) for form in (current, candidate)]
            faster = False
            if self.build(ways[1]):
                self.compare(ways)
                old, new = (self.tried[way].milliseconds for way in ways)
                faster = new < old * (1 - _WORTH)
            current = candidate if faster else current
            try:
                candidate = steps.send(faster)
            except StopIteration:
                candidate = None

    def report(self) -> OptimizeReport:
        """Time the best rewritten way against the best plain one once more, and choose."""
        plain, best = self.best(rewritten=False), self.best()
        if best[2].rewritten:
            self.compare([plain, best], rounds=16)
            if self.tried[best].milliseconds > self.tried[plain].milliseconds * (1 - _WORTH):
                best = plain
        return OptimizeReport(
            tuple(self.tried.values()),
            self.tried[best],
            self.tried[plain],
            self.applied.get(best[2], {}),
            self.size,
            self.batch,
            self.threads,
            asdict(machine()),
        )


def _file(search: _Search, ways: Sequence[tuple[str, str]]) -> Path:
    """Return where the choice for this network, setting and machine is kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    here = machine()
    shapes = [(name, tuple(tensor.shape)) for name, tensor in search.graph.state_dict().items()]
    parts = (search.graph.code, shapes, search.size, search.batch, search.threads, ways, here.processor, here.torch)
    return home / "featherbone" / "optimize" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"


def _remember(search: _Search, ways: Sequence[tuple[str, str]], report: OptimizeReport) -> None:
    try:
        write_json(_file(search, ways), report.to_dict())
    except InputError:
        search.say("the choice could not be kept: the next call measures again")


def _recall(search: _Search, ways: Sequence[tuple[str, str]]) -> Optimized | None:
    """Build and prove what was chosen before; ``None`` if nothing is known, or it does not hold any more."""
    try:
        stored = json.loads(_file(search, ways).read_text(encoding="utf-8"))
        tried = tuple(_tried(one) for one in stored["tried"])
        chosen, plain = _tried(stored["chosen"]), _tried(stored["plain"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    way = (chosen.engine, chosen.precision, chosen.form)
    if not search.build(way):
        return None
    report = OptimizeReport(
        tried,
        replace(chosen, error=search.tried[way].error),
        plain,
        search.applied.get(chosen.form, {}),
        search.size,
        search.batch,
        search.threads,
        stored["machine"],
        remembered=True,
    )
    return Optimized(report, search.runners[way])


def _tried(stored: Mapping[str, Any]) -> Tried:
    form = stored["form"]
    return Tried(
        stored["engine"],
        stored["precision"],
        Form(form["rewritten"], tuple(form["optional"]), tuple(form["dense"])),
        Timing(**stored["timing"]) if stored["timing"] else None,
        stored["error"],
        stored["problem"],
    )
