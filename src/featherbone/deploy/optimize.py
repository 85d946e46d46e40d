"""The fastest equal form of a network here: forms x engines x precisions, timed side by side, proven close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.fx import GraphModule

from featherbone.deploy.engines import ENGINES, QUICK, Runner
from featherbone.deploy.engines.openvino import OPENVINO
from featherbone.deploy.optimize_report import OptimizeReport, recall, remember
from featherbone.deploy.search import BOUNDS, Scale, Search, Subject, in_batches
from featherbone.errors import InputError, nearest


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
        height, width = self.report.size
        if images.ndim != 4 or tuple(images.shape[1:]) != (self.report.channels, height, width):
            allowed = f"(N, {self.report.channels}, {height}, {width})"
            raise InputError(f"images={tuple(images.shape)} is not allowed: {allowed}")
        return in_batches(self._run, images.float().contiguous(), self.report.batch)


def optimize_network(
    module: nn.Module,
    samples: Tensor,
    *,
    batch: int = 1,
    engines: Sequence[str] = QUICK,
    precisions: Sequence[str] | None = None,
    calibration: Tensor | None = None,
    max_drop: float = 0.01,
    threads: int,
    refresh: bool = False,
    log: Callable[[str], None] = lambda _: None,
    scale: Scale | None = None,
) -> Optimized:
    """Try equal forms of a network on engines in precisions, and keep the fastest that is proven close.

    Args:
        module: images ``(B, C, H, W)`` to one tensor; it is taken as in evaluation mode. It is not changed.
        samples: images ``(N, C, H, W)`` of the wanted size, on which every way is compared with the module.
        batch: images at a time.
        engines: names of engines. Those that are not installed are left out.
        precisions: of "f32", "bf16" and "int8"; default: the floats that an engine has here.
        calibration: for "int8", which OpenVINO runs: images ``(N, C, H, W)`` as the network gets them in use, 100 to
            300.
        max_drop: in int8, the share of the calibration images on which the highest output may be another.
        threads: of the processor.
        refresh: measure again, even if the choice for this network, setting and machine is known.
        log: told what is being done.
        scale: from outputs to magnitudes by which their errors are judged; default: each channel's own variation.

    Raises:
        InputError: if an argument is not usable, no engine is installed, or nothing gives the network's outputs.
    """
    ways = _ways(engines, precisions)
    if calibration is None and any(precision == "int8" for _, precision in ways):
        raise InputError("precision='int8' needs calibration: 100 to 300 images as the network gets them in use")
    subject = Subject(module, samples, calibration, max_drop, scale)
    search = Search(subject, batch, threads, log)
    question = (subject.graph.code, sorted(_shapes(subject.graph)), subject.size, batch, threads, ways, max_drop)
    known = None if refresh else recall(question)
    if known and search.build(known.chosen.way):
        return Optimized(search.proven(known), search.runners[known.chosen.way])
    search.compare([(engine, precision, variant) for engine, precision in ways for variant in subject.variants])
    report = search.report()
    if not remember(question, report):
        log("the choice could not be kept: the next call measures again")
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
        if name == OPENVINO.name and precisions and "int8" in precisions:
            here = (*here, "int8")
        found += [(name, precision) for precision in here if precisions is None or precision in precisions]
    if not found:
        wanted = ", ".join(precisions) if precisions else "any precision"
        raise InputError("; ".join(missing) or f"no engine of {', '.join(engines)} computes in {wanted} here")
    return found
