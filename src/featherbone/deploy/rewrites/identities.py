"""What changes nothing is left out, and what never changes is computed once.

``x + 0 = x``, ``1 x = x``, ``relu(relu(x)) = relu(x)``, ``dropout(x) = x`` in evaluation, a reshape to the shape that
was there, the concatenation of one, a pool of single points; and an operation of constants is a constant.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from featherbone.deploy.program import add_constant, changes_in_place, cleaned, constant, copied, shapes

_aten = torch.ops.aten

LARGEST_CONSTANT = 2**24  # bytes; a larger one would cost more to store and read than to compute

# nothing but names of dimensions, so nothing where the shape stays
_SHAPING = frozenset(
    (
        _aten.view.default,
        _aten.reshape.default,
        _aten._unsafe_view.default,
        _aten.flatten.using_ints,
        _aten.unflatten.int,
        _aten.squeeze.default,
        _aten.squeeze.dim,
        _aten.squeeze.dims,
        _aten.expand.default,
        _aten.adaptive_avg_pool2d.default,
    )
)
_COPIES = frozenset((_aten.clone.default, _aten.contiguous.default, _aten.alias.default, _aten.detach.default))
_CASTS = frozenset((_aten._to_copy.default, _aten.to.dtype, _aten.to.dtype_layout, _aten.type_as.default))
_DROPOUTS = frozenset(
    (
        _aten.dropout.default,
        _aten.feature_dropout.default,
        _aten.alpha_dropout.default,
        _aten.feature_alpha_dropout.default,
    )
)
_ONCE = frozenset(
    (_aten.relu.default, _aten.relu6.default, _aten.hardtanh.default, _aten.clamp.default, _aten.abs.default)
)
_POOLS = frozenset((_aten.max_pool2d.default, _aten.avg_pool2d.default))
# the number that changes nothing, and whether it may also come first
_NEUTRAL: Mapping[object, tuple[float, bool]] = {
    _aten.add.Tensor: (0, True),
    _aten.sub.Tensor: (0, False),
    _aten.mul.Tensor: (1, True),
    _aten.div.Tensor: (1, False),
}


def identities(graph: GraphModule) -> tuple[GraphModule, int]:
    """Return a graph without operations that change nothing or only read constants, and their number."""
    if any(map(changes_in_place, graph.graph.nodes)):
        return graph, 0  # a copy may have been taken because of the change
    result = copied(graph)
    known = _fold(result)
    sizes = shapes(result)
    dropped = [node for node in result.graph.nodes if _drop(result, node, sizes)]
    if any(node.target in _COPIES for node in dropped):
        _allow_any_layout(result)
    count = known + len(dropped)
    return (cleaned(result), count) if count else (graph, 0)


# constants -----------------------------------------------------------------------------------------------------------


def _fold(graph: GraphModule) -> int:
    """Store the results of operations that read constants only, and return how many they are."""
    known: dict[Node, Any] = {}
    for node in graph.graph.nodes:
        value = constant(graph, node) if node.op == "get_attr" else _computed(node, known)
        if value is not None:
            known[node] = value
    folded = [node for node in known if node.op != "get_attr"]
    for node in folded:
        if isinstance(known[node], Tensor) and any(user not in known for user in node.users):
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(add_constant(graph, known[node]))
    return len(folded)


def _computed(node: Node, known: Mapping[Node, Any]) -> Any:
    """Return what an operation of known values gives; ``None`` if it is no such operation, or too large."""
    if node.op != "call_function" or not all(arg in known for arg in node.all_input_nodes):
        return None
    if node.target is not operator.getitem and not _repeatable(node.target):
        return None
    args: Any = map_arg(node.args, known.__getitem__)
    kwargs: Any = map_arg(node.kwargs, known.__getitem__)
    with torch.no_grad():
        value = node.target(*args, **kwargs)  # type: ignore[operator]
    tensors = value if isinstance(value, list | tuple) else [value]
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        return None
    return value if sum(tensor.nbytes for tensor in tensors) <= LARGEST_CONSTANT else None


def _repeatable(target: object) -> bool:
    """Return whether an operation gives the same every time."""
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return False
    return torch.Tag.nondeterministic_seeded not in target.tags and "empty" not in str(target)


# operations that change nothing --------------------------------------------------------------------------------------


def _drop(graph: GraphModule, node: Node, sizes: Mapping[Node, Any]) -> bool:
    """Let an operation's readers read its input, if the two are the same."""
    if node.op != "call_function":
        return False
    same = _unchanged(graph, node)
    if same is None or sizes.get(same) != sizes[node] or not _of_one_type(same, node):
        return False
    node.replace_all_uses_with(same)
    return True


def _unchanged(graph: GraphModule, node: Node) -> Node | None:
    """Return the input that an operation gives back if the shape and the type are the same."""
    if node.target in _NEUTRAL:
        return _with_neutral(graph, node)
    first = node.args[0] if node.args else None
    if node.target is _aten.cat.default and isinstance(first, list | tuple) and len(first) == 1:
        (first,) = first
    elif not isinstance(first, Node) or not _passes(node, first):
        return None
    return first if isinstance(first, Node) else None


def _passes(node: Node, first: Node) -> bool:
    if node.target in _SHAPING or node.target in _COPIES or node.target in _CASTS:
        return True
    if node.target is _aten.slice.Tensor:  # of the images too, however many there are
        return (*node.args[2:4], *node.args[4:]) in ((0, sys.maxsize), (0, sys.maxsize, 1))
    if node.target in _DROPOUTS:
        return not node.args[2]
    if node.target in _POOLS:
        kernel = node.args[1]
        divisor = node.args[6:] if node.target is _aten.avg_pool2d.default else ()
        return isinstance(kernel, list | tuple) and set(kernel) == {1} and not any(divisor)
    return node.target in _ONCE and node.target is first.target and node.args[1:] == first.args[1:]


def _with_neutral(graph: GraphModule, node: Node) -> Node | None:
    neutral, either = _NEUTRAL[node.target]
    first, second = node.args[:2]
    if _is_all(graph, second, neutral) and len(node.args) == 2 and "rounding_mode" not in node.kwargs:
        return first if isinstance(first, Node) else None
    if either and _is_all(graph, first, neutral) and not node.kwargs:
        return second if isinstance(second, Node) else None
    return None


def _is_all(graph: GraphModule, value: object, number: float) -> bool:
    tensor = constant(graph, value)
    return bool((tensor == number).all()) if tensor is not None else value == number


def _of_one_type(one: Node, other: Node) -> bool:
    """Return whether two values are known to be of one type; what a rule made has no note of it."""
    first, second = (node.meta.get("val") for node in (one, other))
    return isinstance(first, Tensor) and isinstance(second, Tensor) and first.dtype == second.dtype


def _allow_any_layout(graph: GraphModule) -> None:
    """Let views copy where a copy was dropped before them."""
    for node in graph.graph.find_nodes(op="call_function", target=_aten.view.default):
        node.target = _aten.reshape.default
