"""The fastest equal form of a network here: forms x engines x precisions, timed side by side, proven close."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from featherbone.cost.measured import machine
from featherbone.cost.measured.race import race
from featherbone.deploy.choice import OptimizeReport, Tried, Way, recall, remember
from featherbone.deploy.engines import ENGINES, QUICK, Runner
from featherbone.deploy.forms import PLAIN, Form, further
from featherbone.deploy.program import captured, rewritable
from featherbone.errors import InputError, first_line, nearest

# largest difference of an output, as a share of the largest output; rounding in bfloat16 is 1/256 a layer
BOUNDS: Mapping[str, float] = {"f32": 1e-4, "bf16": 5e-2}
# a form must save this much of the time, or the simpler one stays: less is noise
_WORTH = 0.01


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
    for part in torch.split(images, batch):
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
        module: images ``(B, C, H, W)`` to one tensor; it is taken as in evaluation mode. It is not changed.
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
    question = (search.graph.code, sorted(_shapes(search.graph)), search.size, batch, threads, ways)
    known = None if refresh else recall(question)
    if known and search.build(known.chosen.way):
        return Optimized(search.proven(known), search.runners[known.chosen.way])
    # where no rule fits there is nothing but the plain network
    forms = (PLAIN,) if search.form(Form()) is search.graph else (PLAIN, Form())
    search.compare([(engine, precision, form) for engine, precision in ways for form in forms])
    search.refine()
    report = search.report()
    if not remember(question, report):
        say("the choice could not be kept: the next call measures again")
    return Optimized(report, search.runners[report.chosen.way])


def _shapes(graph: GraphModule) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in graph.state_dict().items()]


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


class _Search:
    def __init__(
        self, module: nn.Module, samples: Tensor, batch: int, threads: int, say: Callable[[str], None]
    ) -> None:
        if batch < 1 or threads < 1:
            raise InputError(f"batch={batch}, threads={threads} is not allowed: 1 or more each")
        self.samples, self.batch, self.threads, self.say = samples, batch, threads, say
        self.images = samples[torch.arange(batch) % len(samples)].contiguous()
        module = copy.deepcopy(module).cpu().eval()
        self.graph = rewritable(captured(module, samples))
        with torch.inference_mode():
            self.wanted = module(samples)
        if not isinstance(self.wanted, Tensor):
            raise InputError("only networks that give one tensor can be optimized")
        self.scale = float(self.wanted.abs().max())
        self.graphs: dict[Form, GraphModule] = {}
        self.applied: dict[Form, dict[str, int]] = {}
        self.translated: dict[tuple[str, Form], object] = {}
        self.runners: dict[Way, Runner] = {}
        self.tried: dict[Way, Tried] = {}

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.samples.shape[2:]
        return height, width

    def form(self, form: Form) -> GraphModule:
        if form not in self.graphs:
            self.graphs[form], self.applied[form] = form.of(self.graph)
        return self.graphs[form]

    def build(self, way: Way) -> bool:
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
        except Exception as failure:  # noqa: BLE001 - engines fail in ways of their own; the others go on
            self.tried[way] = replace(tried, problem=first_line(failure))
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

    def compare(self, ways: Sequence[Way], rounds: int = 8) -> None:
        """Time ways side by side."""
        ready = [way for way in ways if self.build(way)]
        self.say(f"timing {len(ready)} ways")
        named = {str(index): self.runners[way] for index, way in enumerate(ready)}
        for index, timing in race(named, self.images, rounds=rounds).items():
            way = ready[int(index)]
            self.tried[way] = replace(self.tried[way], timing=timing)

    def best(self, *, rewritten: bool | None = None) -> Way:
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

    def proven(self, known: OptimizeReport) -> OptimizeReport:
        """Return what was found before, with today's proof."""
        chosen = replace(known.chosen, error=self.tried[known.chosen.way].error)
        return replace(known, chosen=chosen, remembered=True)

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
