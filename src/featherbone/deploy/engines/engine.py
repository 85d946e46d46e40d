"""What every engine offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx import GraphModule

Runner = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Engine:
    """A program that runs networks.

    Attributes:
        name: as users say it.
        precisions: returns those that it runs in on this machine; raises :class:`InputError` if it is not installed.
        translate: a graph and images of its size to what the engine reads, with weights in float32.
        start: that, the images, a precision and a number of threads to a function from images ``(B, C, H, W)`` of
            exactly that batch and size to outputs, both float32 and on the processor.
    """

    name: str
    precisions: Callable[[], tuple[str, ...]]
    translate: Callable[[GraphModule, Tensor], object]
    start: Callable[[object, Tensor, str, int], Runner]


def alone(outputs: Sequence[Tensor]) -> Any:
    """Return the one output that there is, or a tuple of several."""
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
