"""Build what a file asks for, but not more of it than the file has tensors for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from featherbone.errors import InputError

# what is made and thrown away again while a network is put together, for example a norm that a stem goes without
_SPARE_TENSORS, _SPARE_VALUES = 1000, 1 << 20
_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full}


class Budget(TorchFunctionMode):
    """Within the block, tensors are made only as long as they are not many more than a file holds.

    A row of a file may ask for a layer of 10^12 values or for 10^9 layers. It is stopped before the first tensor that
    is too large, or too many, takes any memory.

    Args:
        shapes: those of the file's tensors.

    Raises:
        InputError: inside the block, once more is asked for.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.tensors = 2 * len(shapes) + _SPARE_TENSORS
        self.values = 2 * values_of(shapes) + _SPARE_VALUES

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in _MAKERS:
            size = named.get("size", args[0] if args and not isinstance(args[0], int) else args)
            self.tensors -= 1
            self.values -= math.prod(size)
            if min(self.tensors, self.values) < 0:
                raise InputError("its row describes a larger network than the file has tensors for")
        return func(*args, **named)


def values_of(shapes: Mapping[str, Sequence[int]]) -> int:
    """Return how many values tensors of these shapes hold."""
    return sum(map(math.prod, shapes.values()))
