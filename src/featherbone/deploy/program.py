"""A network as a program of PyTorch operations with a free batch size: what rules rewrite and exporters read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram, export
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._pytree import tree_map

from featherbone.errors import InputError, first_line
from featherbone.graph import check_finite, copy_network

# stands for the free batch size where shapes are worked out: no other side is it by chance
BATCH = 7919
_aten = torch.ops.aten
_MARKS = (
    _aten.lift_fresh_copy.default,
    _aten.lift_fresh.default,
    _aten.detach.default,
    _aten.detach_.default,
    _aten.alias.default,
    _aten._assert_tensor_metadata.default,
)


@dataclass(frozen=True)
class Convolution:
    """A convolution's arguments, with the defaults filled in.

    Attributes:
        weight: (O, I / groups, h, w).
        bias: (O,), or ``None``.
        stride: down and across.
        padding: zeros at the top and left; the same at the bottom and right.
        dilation: down and across.
        groups: number of groups.
    """

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def pointwise(self) -> bool:
        """Whether every output point reads one input point, and every input point is read."""
        ones = (1, 1)
        return tuple(self.weight.shape[2:]) == ones and self.stride == ones and self.padding == (0, 0)

    @property
    def depthwise(self) -> bool:
        """Whether every output channel reads one input channel of its own."""
        return self.groups > 1 and self.groups == len(self.weight) and self.weight.shape[1] == 1

    @property
    def shape(self) -> tuple[object, ...]:
        """What two convolutions must share to be one."""
        return tuple(self.weight.shape[2:]), self.stride, self.padding, self.dilation, self.weight.dtype


def on_cpu(module: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode on the processor.

    Raises:
        InputError: if the module cannot be copied, or its weights are no numbers.
    """
    # in one order of memory: ExecuTorch refuses channels that lie together
    copied = copy_network(module).cpu().to(memory_format=torch.contiguous_format).eval()
    check_finite(copied)
    return copied


def captured(module: nn.Module, image: Tensor, *, one: bool = False) -> ExportedProgram:
    """Capture a module that is in evaluation mode; the image size is fixed.

    Args:
        module: takes images ``(B, C, H, W)`` like ``image``. It is not changed.
        image: any image batch of the wanted size.
        one: fix the batch, too, at one image; else it stays free.

    Raises:
        InputError: if the module cannot be captured.
    """
    # where it is free, a batch of one would be taken for a constant
    batch = image[:1].expand(1 if one else 2, *image.shape[1:]).contiguous()
    try:
        with torch.no_grad():
            return export(module, (batch,), dynamic_shapes=None if one else ({0: Dim("batch")},), strict=False)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"the network cannot be captured for export: {first_line(error)}") from error


def rewritable(program: ExportedProgram) -> GraphModule:
    """Return the program as a graph module for rules to read: no operation in it changes a tensor in place.

    Its tensors are shared with the program; rules make new ones instead of changing them.
    """
    module = _module(program)
    _drop_marks(module)
    changing = [node for node in module.graph.nodes if changes_in_place(node)]
    if not all(_made_functional(node) for node in changing):
        module = _module(program.run_decompositions({}))  # knows every alias, and takes seconds
        _drop_marks(module)
        _restore_norms(module)
    return cleaned(module)


def copied(graph: GraphModule) -> GraphModule:
    """Return a copy to be rewritten; the tensors are shared."""
    return GraphModule(graph, copy.deepcopy(graph.graph))


def cleaned(graph: GraphModule) -> GraphModule:
    """Drop what nothing reads any more, and make the module run its graph."""
    # PyTorch keeps what draws random numbers, so every dropout
    graph.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or changes_in_place(node))
    graph.graph.lint()
    graph.recompile()
    return GraphModule(graph, graph.graph)  # takes along only the tensors that are read


def shapes(graph: GraphModule) -> Mapping[Node, Any]:
    """Return the shape of every node's output, a list of them where it gives several; the batch is ``BATCH``."""
    found: dict[Node, Any] = {}

    class Shapes(Interpreter):
        def fetch_attr(self, target: str) -> Any:
            return super().fetch_attr(target).to("meta")

        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            # what the program makes or moves itself is where the rest is
            meta = torch.device("meta")
            args = tree_map(lambda leaf: meta if isinstance(leaf, torch.device) else leaf, args)
            return super().call_function(target, args, kwargs | ({"device": meta} if "device" in kwargs else {}))

        def run_node(self, n: Node) -> Any:
            value = super().run_node(n)
            found[n] = tree_map(lambda leaf: tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf, value)
            return value

    image = next(iter(graph.graph.find_nodes(op="placeholder"))).meta["val"]
    ghost = torch.empty([BATCH, *(int(side) for side in image.shape[1:])], dtype=image.dtype, device="meta")
    with torch.no_grad():
        Shapes(graph).run(ghost)
    return found


def constant(graph: GraphModule, node: object) -> Tensor | None:
    """Return the tensor that a node reads from the module, or ``None`` if it is not a constant."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    assert isinstance(node.target, str)
    owner, _, name = node.target.rpartition(".")
    value = getattr(graph.get_submodule(owner), name)
    return value.detach() if isinstance(value, Tensor) else None


def convolution(graph: GraphModule, node: object) -> Convolution | None:
    """Return the arguments of a convolution of images with constant weights; ``None`` for anything else."""
    if not isinstance(node, Node) or node.target not in (_aten.conv2d.default, _aten.conv2d.padding) or node.kwargs:
        return None
    given = dict(enumerate(node.args))
    weight, bias = constant(graph, given[1]), constant(graph, given.get(2))
    padding = given.get(4, 0)
    if weight is None or (bias is None and given.get(2) is not None) or padding == "same":
        return None
    stride, padding, dilation = (
        _pair(value) for value in (given.get(3, 1), 0 if padding == "valid" else padding, given.get(5, 1))
    )
    groups = given.get(6, 1)
    assert isinstance(groups, int)
    return Convolution(weight, bias, stride, padding, dilation, groups)


def call_convolution(graph: GraphModule, image: Node, layer: Convolution) -> Node:
    """Insert a convolution at the graph's insertion point."""
    weight = add_constant(graph, layer.weight)
    bias = None if layer.bias is None else add_constant(graph, layer.bias)
    window = [list(value) for value in (layer.stride, layer.padding, layer.dilation)]
    return graph.graph.call_function(_aten.conv2d.default, (image, weight, bias, *window, layer.groups))


def call_like(graph: GraphModule, node: Node, image: Node) -> Node:
    """Insert an operation like ``node`` on another first argument, at the graph's insertion point."""
    assert isinstance(node.target, OpOverload)
    return graph.graph.call_function(node.target, (image, *node.args[1:]), dict(node.kwargs))


def _pair(value: Any) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values * 2 if len(values) == 1 else values


def add_constant(graph: GraphModule, tensor: Tensor) -> Node:
    """Store a new constant, and return the node that reads it, at the graph's insertion point."""
    number = sum(name.startswith("rewritten_") for name, _ in graph.named_buffers(recurse=False))
    while f"rewritten_{number}" in graph._buffers:
        number += 1
    graph.register_buffer(f"rewritten_{number}", tensor.contiguous())
    return graph.graph.get_attr(f"rewritten_{number}")


def _module(program: ExportedProgram) -> GraphModule:
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    return module


def _drop_marks(module: GraphModule) -> None:
    """Drop what only means something to the tracer and to gradients, and dropout in place that drops nothing."""
    for node in list(module.graph.nodes):
        idle = node.target is _aten.dropout_.default and not node.args[2]
        if idle or node.target in _MARKS:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)


def _restore_norms(module: GraphModule) -> None:
    """Write batch norms as they were written before decomposition, so that rules need to know one form only."""
    for norm in module.graph.find_nodes(op="call_function", target=_aten._native_batch_norm_legit_no_training.default):
        (output,) = norm.users  # the statistics are not read in evaluation
        *tensors, momentum, epsilon = norm.args
        with module.graph.inserting_before(norm):
            whole = module.graph.call_function(_aten.batch_norm.default, (*tensors, False, momentum, epsilon, True))
        whole.meta.update(output.meta)
        output.replace_all_uses_with(whole)
        module.graph.erase_node(output)
        module.graph.erase_node(norm)


def changes_in_place(node: Node) -> bool:
    """Return whether an operation writes into a tensor that it was given."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _made_functional(node: Node) -> bool:
    """Let an operation like ``relu_`` return a new tensor, if no reader sees a difference; tell whether it was done."""
    assert isinstance(node.target, OpOverload)
    changed = node.args[0]
    name, overload = node.target._schema.name.removeprefix("aten::"), node.target._overloadname
    packet = getattr(_aten, name.removesuffix("_"), None)
    if not name.endswith("_") or packet is None or overload not in packet.overloads():
        return False
    # whoever shares the changed memory under another name would have to see the change
    if not isinstance(changed, Node) or _is_view(changed):
        return False
    if any(_is_view(user) for user in changed.users if user is not node):
        return False
    node.target = getattr(packet, overload)
    changed.replace_all_uses_with(node, delete_user_cb=lambda user: user > node)
    return True


def _is_view(node: Node) -> bool:
    """Return whether the output may share memory with another value."""
    if not isinstance(node.target, OpOverload):
        return node.op != "output"  # an image, or one of several outputs
    # dropout in evaluation returns its input, though its schema does not say so
    return "dropout" in node.target._schema.name or any(
        result.alias_info is not None for result in node.target._schema.returns
    )
