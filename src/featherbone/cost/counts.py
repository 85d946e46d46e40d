"""Parameters and multiply-accumulates by stage, layer and operation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from torch import nn

from featherbone.cost.macs import macs
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
        output: shape of the last tensor it made; empty for operations.
    """

    name: str
    params: int
    macs: int
    output: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What a network costs at one input size and batch.

    Attributes:
        params: trainable values; shared ones count once.
        macs: multiply-accumulates of convolutions and matrix products; papers that print "FLOPs" mostly mean these,
            darknet's BFLOPs are twice as many.
        size: (height, width) of the input.
        batch: images at a time.
        unknown: operations that have no formula, and how often they ran. Their macs are *not* in the total.
        graph: the trace.
    """

    params: int
    macs: int
    size: tuple[int, int]
    batch: int
    unknown: Mapping[str, int]
    graph: Graph = field(repr=False)

    def by(self, what: By = "stage") -> list[CostRow]:
        """Return the costs per stage, layer or operation, in the order in which they run; they add up to the total.

        Raises:
            InputError: if ``what`` is none of them.
        """
        if what not in ("stage", "layer", "op"):
            raise InputError(f"by={what!r} is not allowed: stage, layer or op")
        if what == "op":
            counts: Counter[str] = Counter()
            for node in self.graph.nodes:
                counts[node.op.removeprefix("aten.").removesuffix("_")] += macs(node) or 0
            return [CostRow(op, 0, n) for op, n in counts.most_common()]
        name_of = _stage_names(self.graph) if what == "stage" else str
        params: Counter[str] = Counter()
        for value in self.graph.parameters:
            if value.trainable:
                params[name_of(value.name.rpartition(".")[0])] += prod(value.shape)
        work: dict[str, int] = defaultdict(int)
        outputs: dict[str, tuple[int, ...]] = {}
        for node in self.graph.nodes:
            work[name_of(node.path)] += macs(node) or 0
            outputs[name_of(node.path)] = _main_output(node) or outputs.get(name_of(node.path), ())
        return [
            CostRow(name or "(top)", params[name], work[name], outputs.get(name, ())) for name in {**work, **params}
        ]

    def table(self, by: By = "stage") -> str:
        """Return the costs as text, the total in the last line."""
        rows = [("", "params", "macs", "output")]
        rows += [(r.name, f"{r.params:,}", f"{r.macs:,}", "x".join(map(str, r.output))) for r in self.by(by)]
        rows.append(("total", f"{self.params:,}", f"{self.macs:,}", ""))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d:<{widths[3]}}".rstrip() for a, b, c, d in rows
        ]
        return "\n".join(lines + [f"no formula for {op} ({n} times): not counted" for op, n in self.unknown.items()])

    def to_dict(self, by: By = "stage") -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [{"name": r.name, "params": r.params, "macs": r.macs, "output": list(r.output)} for r in self.by(by)]
        totals = {"params": self.params, "macs": self.macs, "size": list(self.size), "batch": self.batch}
        return {**totals, by: rows, "unknown": dict(self.unknown)}


def cost(module: nn.Module, size: int | tuple[int, int] = 224, *, batch: int = 1, in_chans: int | None = None) -> Cost:
    """Count what any image network costs, from one trace; the module is not changed.

    Args:
        module: any module that takes images ``(B, C, H, W)``.
        size: side of the image in pixels, or (height, width).
        batch: images at a time.
        in_chans: channels of the image; default: those the first convolution reads.

    Raises:
        InputError: if the network cannot be traced at this size.
    """
    graph = trace(module, size, batch=batch, in_chans=in_chans)
    counted = [(node, macs(node)) for node in graph.nodes]
    return Cost(
        params=sum(prod(value.shape) for value in graph.parameters if value.trainable),
        macs=sum(n for _, n in counted if n),
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
