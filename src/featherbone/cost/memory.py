"""Live peak memory, from how long the trace's pieces of memory lived."""

from __future__ import annotations

from dataclasses import dataclass

from featherbone.graph import Graph


@dataclass(frozen=True)
class Peak:
    """The moment at which most memory is held at once, without weights.

    Attributes:
        bytes: how much, the input included; buffers that a library takes inside an operation are not known to a graph.
        node: number of the operation at that moment.
        path: the layer it belongs to.
        op: PyTorch's name for it.
    """

    bytes: int
    node: int
    path: str
    op: str


def live_peak(graph: Graph) -> Peak:
    """Return the peak of a trace: of an inference, or of a training step with its gradients."""
    weights = {value.storage for value in graph.parameters}
    changes: list[tuple[int, int]] = []  # at the same operation what died goes first
    for life in graph.lives:
        if life.storage not in weights:
            changes += [(life.born, life.bytes), (life.died, -life.bytes)]
    live = most = where = 0
    for node, change in sorted(changes):
        live += change
        if live > most:
            most, where = live, node
    if not graph.nodes:
        return Peak(most, 0, "", "")
    at = graph.nodes[max(min(where, len(graph.nodes) - 1), 0)]
    return Peak(most, where, at.path, at.op)
