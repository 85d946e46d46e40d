"""Memory traffic: what every operation reads and writes, and the measures that papers make of it.

An operation reads its inputs and writes its outputs, each once, from and to memory; what a cache holds is not known to
a graph. Views move nothing. Units: bytes for traffic, elements for the papers' measures.
"""

from __future__ import annotations

from math import prod, sqrt

from featherbone.cost.macs import FORMULAS
from featherbone.graph import Node

_VIEWS = {
    f"aten.{op}"
    for op in """
view _unsafe_view _reshape_alias transpose t permute expand squeeze unsqueeze select slice split split_with_sizes unbind
alias detach as_strided unfold narrow diagonal lift_fresh empty new_empty empty_like
""".split()
}
_CONVOLUTIONS = {"aten.convolution"}
_PRODUCTS = _CONVOLUTIONS | {"aten.mm", "aten.bmm", "aten.addmm", "aten.baddbmm"}
_POOLS = {"aten.avg_pool2d", "aten.max_pool2d_with_indices", "aten._adaptive_avg_pool2d", "aten.adaptive_max_pool2d"}
# a mean over all positions is a global pool
_POOLS |= {"aten.mean"}


def traffic(node: Node) -> int | None:
    """Return the bytes that one operation moves, or ``None`` if the operation is not known."""
    if node.op not in FORMULAS and node.op.removesuffix("_") not in FORMULAS:
        return None
    if node.op in _VIEWS:
        return 0
    read = {value.index: value.bytes for value in node.inputs}
    return sum(read.values()) + sum(value.bytes for value in node.outputs)


def cio(node: Node) -> int:
    """Return an operation's convolutional input/output in elements (HarDNet, arXiv 1909.00948, eq. 1).

    As CSPNet counts it: inputs and outputs of convolutions, of pools and of the classifier, without weights.
    """
    if node.op not in _PRODUCTS | _POOLS:
        return 0
    return prod(_image(node)) + prod(node.outputs[0].shape)


def activations(node: Node) -> int:
    """Return the elements that convolutions and matrix products emit (Radosavovic et al., arXiv 2003.13678)."""
    return prod(node.outputs[0].shape) if node.op in _PRODUCTS else 0


def memory_access(node: Node) -> int:
    """Return a convolution's memory-access cost in elements: input, output and weights (ShuffleNet V2, sec. 3, G1)."""
    if node.op not in _CONVOLUTIONS:
        return 0
    return prod(_image(node)) + prod(node.outputs[0].shape) + prod(node.inputs[1].shape)


def memory_access_bound(node: Node) -> float:
    """Return the least memory-access cost of a convolution with as many operations, in elements.

    With the same operations the weights are as many and the product of the numbers of channels is the same, so the sum
    of both maps is least where they are equally large: G1's bound, also for strides, groups and kernels.
    """
    if node.op not in _CONVOLUTIONS:
        return 0.0
    return 2 * sqrt(prod(_image(node)) * prod(node.outputs[0].shape)) + prod(node.inputs[1].shape)


def _image(node: Node) -> tuple[int, ...]:
    return node.inputs[1 if node.op in ("aten.addmm", "aten.baddbmm") else 0].shape
