"""Forms x engines x precisions of one network: built, proven and timed side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from featherbone.cost.measurement import machine
from featherbone.cost.measurement.race import race
from featherbone.deploy.engines import ENGINES, Runner
from featherbone.deploy.fidelity import COARSE, Reference
from featherbone.deploy.optimize_report import Candidate, OptimizeReport, Way
from featherbone.deploy.program import captured, on_cpu, rewritable
from featherbone.deploy.quantize import Calibration, agreement, in_parts, quantized
from featherbone.deploy.variants import PLAIN, Variant, further
from featherbone.errors import InputError, first_line

# of a detector: largest difference, as a share of 1 for probabilities and of a box's longer side for its edges;
# rounding in bfloat16 is 1/256 a layer. Of other networks see ``fidelity``
BOUNDS: Mapping[str, float] = {"f32": 1e-4, "bf16": 5e-2, "int8": 0.3}
# of the images that are not calibrated with, so many are compared with the network's outputs
REAL_IMAGES = 32
# a form must save this much of the time, or the simpler one stays: less is noise
_WORTH = 0.01


Scale = Callable[[Tensor], Tensor]


class Subject:
    """A network, its equal forms, and what engines read of them: all that does not depend on batch and precision.

    Args:
        module: images ``(B, C, H, W)`` to one tensor; it is taken as in evaluation mode. It is not changed.
        samples: images ``(N, C, H, W)`` of the wanted size, on which every way in float is compared with the module.
        calibration: images ``(N, C, H, W)`` as the network gets them in use; needed for int8, and compared on.
        max_drop: in int8, the share of the calibration images on which the highest output may be another.
        scale: from outputs to magnitudes, of a shape that broadcasts, by which their errors are judged; default: each
            channel by its own variation over the samples.

    Raises:
        InputError: if the network cannot be captured or gives more than one tensor.
    """

    def __init__(
        self,
        module: nn.Module,
        samples: Tensor,
        calibration: Tensor | None = None,
        max_drop: float = 0.01,
        scale: Scale | None = None,
    ) -> None:
        module = on_cpu(module)
        self.samples, self.max_drop = samples, max_drop
        self.calibration = None if calibration is None else Calibration.of(calibration, samples)
        self.scale = scale
        self.graph = rewritable(captured(module, samples))
        self.reference = Reference(module, self.graph, samples)
        if self.reference.names != ("outputs",):
            raise InputError("only networks that give one tensor can be optimized")
        # eight bits are scaled for real images, and go astray on noise
        self.real = None if self.calibration is None else self.calibration.check[:REAL_IMAGES]
        self.really = None if self.real is None else Reference(module, self.graph, self.real)
        self.score = None if self.calibration is None else agreement(in_parts(module), self.calibration.check)
        self.graphs: dict[Variant, GraphModule] = {}
        self.applied: dict[Variant, dict[str, int]] = {}
        self.translated: dict[tuple[str, Variant, bool], object] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.samples.shape[2:]
        return height, width

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The network as it was given and, if any rule applies, rewritten."""
        return (PLAIN,) if self.variant(Variant()) is self.graph else (PLAIN, Variant())

    def images(self, precision: str) -> Tensor:
        """Return the images on which a way is compared with the network."""
        return self.real if precision == "int8" and self.real is not None else self.samples

    def error(self, given: Tensor, precision: str) -> float:
        """Return the largest difference of outputs for ``images(precision)``, as a share of what they are judged by.

        Raises:
            InputError: if it is too large.
        """
        reference = self.really if precision == "int8" and self.really else self.reference
        if self.scale:
            wanted = reference.plain[0]
            scale = self.scale(wanted)
            error = float(((given - wanted).abs() / torch.where(scale > 0, scale, 1.0)).max())
            if not error <= BOUNDS[precision]:  # also refuses NaN
                raise InputError(f"its outputs differ by {error:.1g} of their size, {BOUNDS[precision]:g} allowed")
            return error
        if precision in COARSE:
            return reference.compared_coarsely([given], precision)[0].share
        return reference.compared([given])[0].share

    def variant(self, variant: Variant) -> GraphModule:
        """Return the graph of a form."""
        if variant not in self.graphs:
            self.graphs[variant], self.applied[variant] = variant.of(self.graph)
        return self.graphs[variant]

    def read_by(self, engine: str, precision: str, variant: Variant) -> object:
        """Return what an engine reads of a form: one model for all floats, another for int8."""
        key = (engine, variant, precision == "int8")
        if key not in self.translated:
            graph = self.variant(variant)
            if precision == "int8":
                assert self.calibration is not None
                most = self.calibration.allowed(self.max_drop)
                self.translated[key] = quantized(graph, self.calibration.scale, score=self.score, max_drop=most).model
            else:
                self.translated[key] = ENGINES[engine].translate(graph, self.samples)
        return self.translated[key]


def in_batches(run: Runner, images: Tensor, batch: int) -> Tensor:
    """Run a function that takes exactly ``batch`` images on any number of them."""
    outputs = []
    for part in torch.split(images, batch):
        filled = nn.functional.pad(part, (0, 0, 0, 0, 0, 0, 0, batch - len(part))) if len(part) < batch else part
        outputs.append(run(filled)[: len(part)])
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


class Search:
    """Ways to run a network at one batch size with so many threads; each is built and proven once.

    Raises:
        InputError: if a number is not usable.
    """

    def __init__(self, subject: Subject, batch: int, threads: int, log: Callable[[str], None] = lambda _: None) -> None:
        if batch < 1 or threads < 1:
            raise InputError(f"batch={batch}, threads={threads} is not allowed: 1 or more each")
        self.subject, self.batch, self.threads, self.log = subject, batch, threads, log
        self.images = subject.samples[torch.arange(batch) % len(subject.samples)].contiguous()
        self.runners: dict[Way, Runner] = {}
        self.candidates: dict[Way, Candidate] = {}

    def build(self, way: Way) -> bool:
        """Make one way ready and prove it; whether it may be timed."""
        if way in self.candidates:
            return way in self.runners
        name, precision, variant = way
        candidate = Candidate(name, precision, variant)
        self.log(candidate.name)
        try:
            run = ENGINES[name].start(
                self.subject.read_by(name, precision, variant), self.images, precision, self.threads
            )
            given = in_batches(run, self.subject.images(precision), self.batch)
            error = self.subject.error(given, precision)
        except Exception as failure:  # noqa: BLE001 - engines fail in ways of their own; the others go on
            self.candidates[way] = replace(candidate, problem=first_line(failure))
            return False
        self.candidates[way], self.runners[way] = replace(candidate, error=error), run
        return True

    def compare(self, ways: Sequence[Way], rounds: int = 8) -> None:
        """Time ways side by side."""
        ready = [way for way in ways if self.build(way)]
        self.log(f"timing {len(ready)} ways")
        named = {str(index): self.runners[way] for index, way in enumerate(ready)}
        for index, timing in race(named, self.images, rounds=rounds).items():
            way = ready[int(index)]
            self.candidates[way] = replace(self.candidates[way], timing=timing)

    def best(self, *, rewritten: bool, precision: str | None = None) -> Way:
        """Return the fastest way with a rewritten form, or with the network as it was given, by the times so far."""
        allowed = [way for way in self.runners if way[2].rewritten is rewritten and precision in (None, way[1])]
        if not allowed:
            problems = "; ".join(f"{one.name}: {one.problem}" for one in self.candidates.values())
            raise InputError(f"nothing gives the network's outputs here: {problems}")
        return min(allowed, key=lambda way: self.candidates[way].milliseconds)

    def refined(self, way: Way) -> Way:
        """Return the fastest of the forms further than this one, on its engine and in its precision."""
        engine, precision, current = way
        steps = further(current, self.subject.graph)
        candidate = next(steps, None)
        while candidate is not None:
            faster = self._beats((engine, precision, candidate), (engine, precision, current))
            current = candidate if faster else current
            try:
                candidate = steps.send(faster)
            except StopIteration:
                candidate = None
        return engine, precision, current

    def _beats(self, challenger: Way, holder: Way) -> bool:
        if not self.build(challenger):
            return False
        self.compare([holder, challenger])
        return self.candidates[challenger].milliseconds < self.candidates[holder].milliseconds * (1 - _WORTH)

    def proven(self, known: OptimizeReport) -> OptimizeReport:
        """Return an earlier report with the error that was measured now."""
        chosen = replace(known.chosen, error=self.candidates[known.chosen.way].error)
        return replace(known, chosen=chosen, remembered=True)

    def report(self, precision: str | None = None) -> OptimizeReport:
        """Choose: the fastest plain way, the fastest rewritten one and what it can be made meet in one race.

        Args:
            precision: look at ways in this one only.
        """
        plain = self.best(rewritten=False, precision=precision)
        finalists = [plain]
        if any(way[2].rewritten and precision in (None, way[1]) for way in self.runners):
            rewritten = self.best(rewritten=True, precision=precision)
            finalists = list(dict.fromkeys((plain, rewritten, self.refined(rewritten))))
            self.compare(finalists, rounds=16)
        best = min(finalists, key=lambda way: self.candidates[way].milliseconds)
        if self.candidates[best].milliseconds > self.candidates[plain].milliseconds * (1 - _WORTH):
            best = plain
        return OptimizeReport(
            tuple(self.candidates.values()),
            self.candidates[best],
            self.candidates[plain],
            self.subject.applied.get(best[2], {}),
            self.subject.samples.shape[1],
            self.subject.size,
            self.batch,
            self.threads,
            asdict(machine()),
        )
