"""What a network really runs: every operation on tensors, with shapes, inputs and the layer it belongs to.

The network is run once on ``meta`` tensors, which have shapes but no numbers, and every operation is written down where
PyTorch dispatches it. That sees functional calls, operators, slicing, shared layers and Python control flow on shapes
alike, knows a view from a copy, and takes a fraction of a second (docs/decisions/0003-tracing.md).
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from featherbone.errors import InputError, first_line, some


@dataclass(frozen=True)
class Value:
    """A tensor at one point of the run: an input, a parameter or an operation's output.

    Attributes:
        index: its number, in order of first use.
        shape: its shape.
        bytes: its size if it were stored alone.
        storage: number of the memory it lives in; a view shares it with what it views.
        name: the parameter's or buffer's name; empty for activations.
        trainable: whether it is a parameter that learns.
    """

    index: int
    shape: tuple[int, ...]
    bytes: int
    storage: int
    name: str = ""
    trainable: bool = False


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        op: PyTorch's name for it, for example ``aten.convolution``.
        path: name of the layer that called it; empty at the top.
        inputs: tensors read, in argument order.
        outputs: tensors made or changed.
        arguments: everything else it was given, by argument name.
    """

    op: str
    path: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Life:
    """How long a piece of memory was held, by Python, by autograd or by whatever else kept a tensor in it.

    Attributes:
        storage: its number.
        bytes: its size.
        born: number of the operation that made it; -1 for inputs, parameters and buffers.
        died: number of the first operation that ran after it was given up; the number of operations, if none did.
    """

    storage: int
    bytes: int
    born: int
    died: int


@dataclass(frozen=True)
class Graph:
    """A traced network.

    Attributes:
        nodes: operations in the order in which they run.
        inputs: the network's inputs.
        parameters: every parameter and buffer, used or not, shared ones once, in the module's order.
        lives: every piece of memory, in the order in which they were made.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    parameters: tuple[Value, ...]
    lives: tuple[Life, ...] = ()


def trace(
    module: nn.Module,
    size: int | tuple[int, int] = 224,
    *,
    batch: int = 1,
    in_chans: int | None = None,
    training: bool = False,
) -> Graph:
    """Trace an image network, one of ours or any other.

    Args:
        module: any module that takes images ``(B, C, H, W)``. It is not changed.
        size: side of the image in pixels, or (height, width).
        batch: images at a time.
        in_chans: channels of the image; default: those the first convolution reads, else 3.
        training: trace a training step, forwards and backwards from the sum of the outputs, instead of an inference.

    Raises:
        InputError: if the network cannot run on such an image, or needs the image's numbers to decide what to do.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width, batch) < 1:
        raise InputError(f"size={size}, batch={batch} is not allowed: whole numbers, 1 or more")
    channels = in_chans or image_channels(module)
    ghost = meta_copy(module).train(training)
    image = torch.empty(batch, channels, height, width, device="meta", dtype=_dtype(ghost))
    recorder = _Recorder(ghost, [image])
    try:
        with torch.set_grad_enabled(training), recorder:
            outputs = ghost(image)
            if training:
                torch.autograd.backward(_sum(outputs))
            del outputs
    except (RuntimeError, ValueError, NotImplementedError, IndexError, TypeError) as error:
        raise InputError(
            f"the network cannot be traced at size {height}x{width} with {channels} channels "
            f"(in {recorder.path or 'its forward'}): {first_line(error)}"
        ) from error
    finally:
        recorder.remove_hooks()
    return recorder.graph()


def _sum(outputs: Any) -> Tensor:
    return torch.stack([leaf.sum() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]).sum()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Write down every dispatched operation; forward hooks tell which layer is at work."""

    def __init__(self, module: nn.Module, inputs: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._values: dict[int, Value] = {}  # by the tensor's id, while it lives
        self._storages: dict[int, int] = {}  # by the memory's address, while it lives
        self._holders: list[int] = []  # how many tensors live in each storage
        self._lives: list[Life] = []
        self._count = 0
        self._nodes: list[Node] = []
        self._paths: list[str] = []
        named = [*module.named_parameters(), *module.named_buffers()]
        self._started = self._recording = False
        self._parameters = tuple(self._value(tensor, name) for name, tensor in named)
        self._inputs = tuple(self._value(tensor) for tensor in inputs)
        self._started = self._recording = True
        self._hooks = [
            handle
            for name, part in module.named_modules()
            for handle in (
                part.register_forward_pre_hook(self._enter(name)),
                part.register_forward_hook(self._leave, always_call=False),
            )
        ]

    @property
    def path(self) -> str:
        """The layer at work."""
        return self._paths[-1] if self._paths else ""

    def graph(self) -> Graph:
        self._recording = False
        end = len(self._nodes)
        lives = tuple(life if life.died >= 0 else replace(life, died=end) for life in self._lives)
        return Graph(tuple(self._nodes), self._inputs, self._parameters, lives)

    def remove_hooks(self) -> None:
        for handle in self._hooks:
            handle.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [self._value(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        result = func(*args, **kwargs)
        outputs = [self._value(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        names = [argument.name for argument in func._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        plain = {k: v for k, v in given.items() if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(v))}
        op = func.overloadpacket._qualified_op_name.replace("::", ".")
        self._nodes.append(Node(op, self.path, tuple(inputs), tuple(outputs), plain))
        return result

    def _value(self, tensor: Tensor, name: str = "") -> Value:
        if id(tensor) not in self._values:
            memory = tensor.untyped_storage()
            storage = self._storages.setdefault(memory._cdata, len(self._lives))
            if storage == len(self._lives):
                born = len(self._nodes) if self._started else -1
                self._lives.append(Life(storage, memory.nbytes(), born, -1))
                self._holders.append(0)
            self._holders[storage] += 1
            size = tensor.numel() * tensor.element_size()
            trainable = bool(name) and tensor.requires_grad
            self._values[id(tensor)] = Value(self._count, tuple(tensor.shape), size, storage, name, trainable)
            self._count += 1
            weakref.finalize(tensor, self._gone, id(tensor), storage, memory._cdata).atexit = False
        return self._values[id(tensor)]

    def _gone(self, key: int, storage: int, address: int) -> None:
        """Note that a tensor died, and with the last one in it its memory."""
        self._values.pop(key, None)
        self._holders[storage] -= 1
        if not self._holders[storage]:
            self._storages.pop(address, None)
            if self._recording:
                self._lives[storage] = replace(self._lives[storage], died=len(self._nodes))

    def _enter(self, name: str) -> Callable[..., None]:
        def note(*_: Any) -> None:
            self._paths.append(name)

        return note

    def _leave(self, *_: Any) -> None:
        self._paths.pop()


def meta_copy(module: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode on the meta device: all shapes, no numbers (none is copied on the way)."""
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        ghost = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(ghost, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else ghost
    return copy_network(module, memo).eval()


def copy_network(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Return a deep copy.

    Args:
        module: a network.
        memo: copies that there are already, by the ``id`` of what they are of.

    Raises:
        InputError: if it holds what cannot be copied, such as a tensor that was computed, an open file or a lock.
    """
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise InputError(f"the network cannot be copied, so it would be changed: {first_line(error)}") from error


def check_finite(module: nn.Module, name: object = "the network") -> None:
    """Refuse a network whose weights are no numbers, for its answers would be none.

    Args:
        module: a network.
        name: what the sentence calls it.

    Raises:
        InputError: if a weight is NaN or infinite.
    """
    state = module.state_dict().items()
    wrong = [key for key, tensor in state if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if wrong:
        raise InputError(f"the weights of {name} hold NaN or infinity ({some(wrong, 3)}): it has no answers")


def _dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.get_default_dtype())


def image_channels(module: nn.Module) -> int:
    """Return the channels that a module's first convolution reads; 3 if it has none."""
    convolution = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return convolution.in_channels if convolution else 3
