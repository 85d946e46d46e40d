"""The cost sheet: parameters, multiply-accumulates, traffic and live memory, by stage, layer and operation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any, Literal

from torch import nn

from featherbone.cost.macs import macs
from featherbone.cost.memory import Peak, live_peak
from featherbone.cost.traffic import activations, cio, memory_access, memory_access_bound, traffic
from featherbone.errors import InputError
from featherbone.graph import Graph, Node, trace

By = Literal["stage", "layer", "op"]


@dataclass(frozen=True)
class CostRow:
    """One line of a cost table.

    Attributes:
        name: stage, layer or operation.
        params: trainable values that belong to it (0 for operations).
        macs: multiply-accumulates.
        traffic_bytes: bytes read and written.
        output: shape of the last tensor it made; empty for operations.
        memory_access: elements that its convolutions read and write, weights included (ShuffleNet V2's measure).
        memory_access_bound: the least it could be with as many operations.
    """

    name: str
    params: int
    macs: int
    traffic_bytes: int = 0
    output: tuple[int, ...] = ()
    memory_access: int = 0
    memory_access_bound: float = 0.0


@dataclass(frozen=True)
class Cost:
    """What a network costs at one input size and batch.

    Attributes:
        params: trainable values; shared ones count once.
        macs: multiply-accumulates of convolutions and matrix products; papers that print "FLOPs" mostly mean these,
            darknet's BFLOPs are twice as many.
        size: (height, width) of the input.
        batch: images at a time.
        unknown: operations that have no formula, and how often they ran. They are in *no* total.
        traffic_bytes: bytes that all operations read and write; what a cache saves is not known to a graph.
        cio: elements in and out of convolutions, pools and the classifier (HarDNet's measure, as in CSPNet).
        activations: elements that convolutions and matrix products emit.
        peak: the most memory that lives at once during an inference, without weights.
        training_peak: the same for a training step with its gradients; ``None`` if it was not asked for.
        graph: the trace.
    """

    params: int
    macs: int
    traffic_bytes: int
    cio: int
    activations: int
    peak: Peak
    training_peak: Peak | None
    size: tuple[int, int]
    batch: int
    unknown: Mapping[str, int]
    graph: Graph = field(repr=False)

    @property
    def flops(self) -> int:
        """Twice the multiply-accumulates, as darknet's BFLOPs and CSPNet print them."""
        return 2 * self.macs

    @property
    def peak_bytes(self) -> int:
        """The most memory that lives at once during an inference, without weights."""
        return self.peak.bytes

    @property
    def intensity(self) -> float:
        """Multiply-accumulates per byte moved."""
        return self.macs / self.traffic_bytes if self.traffic_bytes else 0.0

    def by(self, what: By = "stage") -> list[CostRow]:
        """Return the costs per stage, layer or operation, in the order in which they run; they add up to the total.

        Raises:
            InputError: if ``what`` is none of them.
        """
        if what not in ("stage", "layer", "op"):
            raise InputError(f"by={what!r} is not allowed: stage, layer or op")
        if what == "op":
            counts: Counter[str] = Counter()
            moved: Counter[str] = Counter()
            for node in self.graph.nodes:
                op = node.op.removeprefix("aten.").removesuffix("_")
                counts[op] += macs(node) or 0
                moved[op] += traffic(node) or 0
            return [CostRow(op, 0, counts[op], n) for op, n in moved.most_common()]
        name_of = _stage_names(self.graph) if what == "stage" else str
        params: Counter[str] = Counter()
        for value in self.graph.parameters:
            if value.trainable:
                params[name_of(value.name.rpartition(".")[0])] += prod(value.shape)
        work: dict[str, int] = defaultdict(int)
        bytes_, access, bound = Counter[str](), Counter[str](), defaultdict[str, float](float)
        outputs: dict[str, tuple[int, ...]] = {}
        for node in self.graph.nodes:
            name = name_of(node.path)
            work[name] += macs(node) or 0
            bytes_[name] += traffic(node) or 0
            access[name] += memory_access(node)
            bound[name] += memory_access_bound(node)
            outputs[name] = _main_output(node) or outputs.get(name, ())
        return [
            CostRow(
                name=name or "(top)",
                params=params[name],
                macs=work[name],
                traffic_bytes=bytes_[name],
                output=outputs.get(name, ()),
                memory_access=access[name],
                memory_access_bound=bound[name],
            )
            for name in {**work, **params}
        ]

    def table(self, by: By = "stage") -> str:
        """Return the costs as text, the total in the last line."""
        rows = [("", "params", "macs", "traffic bytes", "output")]
        rows += [
            (r.name, f"{r.params:,}", f"{r.macs:,}", f"{r.traffic_bytes:,}", "x".join(map(str, r.output)))
            for r in self.by(by)
        ]
        rows.append(("total", f"{self.params:,}", f"{self.macs:,}", f"{self.traffic_bytes:,}", ""))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3)), row[4]]).rstrip()
            for row in rows
        ]
        return "\n".join(lines + [f"no formula for {op} ({n} times): not counted" for op, n in self.unknown.items()])

    def to_dict(self, by: By = "stage") -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [{**asdict(row), "output": list(row.output)} for row in self.by(by)]
        totals: dict[str, Any] = {
            "params": self.params,
            "macs": self.macs,
            "flops": self.flops,
            "traffic_bytes": self.traffic_bytes,
            "cio": self.cio,
            "activations": self.activations,
            "intensity": self.intensity,
            "peak_bytes": self.peak.bytes,
            "training_peak_bytes": self.training_peak.bytes if self.training_peak else None,
            "size": list(self.size),
            "batch": self.batch,
        }
        return {**totals, by: rows, "unknown": dict(self.unknown)}


def cost(
    module: nn.Module,
    size: int | tuple[int, int] = 224,
    *,
    batch: int = 1,
    in_chans: int | None = None,
    training: bool = False,
) -> Cost:
    """Count what any image network costs, from one trace; the module is not changed.

    Args:
        module: any module that takes images ``(B, C, H, W)``.
        size: side of the image in pixels, or (height, width).
        batch: images at a time.
        in_chans: channels of the image; default: those the first convolution reads.
        training: trace a training step too, for its peak memory.

    Raises:
        InputError: if the network cannot be traced at this size.
    """
    graph = trace(module, size, batch=batch, in_chans=in_chans)
    step = trace(module, size, batch=batch, in_chans=in_chans, training=True) if training else None
    counted = [(node, macs(node)) for node in graph.nodes]
    return Cost(
        params=sum(prod(value.shape) for value in graph.parameters if value.trainable),
        macs=sum(n for _, n in counted if n),
        traffic_bytes=sum(traffic(node) or 0 for node in graph.nodes),
        cio=sum(cio(node) for node in graph.nodes),
        activations=sum(activations(node) for node in graph.nodes),
        peak=live_peak(graph),
        training_peak=live_peak(step) if step else None,
        size=(size, size) if isinstance(size, int) else size,
        batch=batch,
        unknown=Counter(node.op for node, n in counted if n is None),
        graph=graph,
    )


def _stage_names(graph: Graph) -> Callable[[str], str]:
    """Return the map from a layer's path to its stage: a top-level part, opened once if it does most of the work."""
    work: Counter[str] = Counter()
    for node in graph.nodes:
        work[node.path.partition(".")[0]] += macs(node) or 0
    opened = [name for name, n in work.items() if n > work.total() / 2]

    def stage(path: str) -> str:
        parts = path.split(".")
        return ".".join(parts[:2] if parts[0] in opened else parts[:1])

    return stage


def _main_output(node: Node) -> tuple[int, ...]:
    # statistics and indices that come with an output are no feature maps
    return node.outputs[0].shape if node.outputs and node.inputs else ()
