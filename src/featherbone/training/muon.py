"""Muon: momentum, made orthogonal (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024).

A step turns all directions of a matrix alike, where those of SGD are ruled by a few large ones. ``torch.optim.Muon``
takes matrices alone; here the filters of a convolution are one, a matrix for each of its groups.

Source: the blog post, kellerjordan.github.io/posts/muon, for the iteration and its coefficients. A weight keeps the norm
that it began with, as in the author's program for CIFAR-10: a convolution before a norm computes the same at any scale,
and one step is then worth as much at the end of a run as at its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the quintic that brings singular values near 1
_ROUNDS = 5


def orthogonal(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return matrices ``(N, rows, columns)`` with singular values near 1 (0.7 to 1.2), their directions kept.

    Args:
        matrices: any, also of rank 1.
        dtype: in which to compute; bfloat16 is enough.
    """
    x = matrices.to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    if x.shape[1] > 1:  # a single row is done: its norm is its one singular value
        for _ in range(_ROUNDS):
            square = x @ x.mT
            x = _A * x + (_B * square + _C * square @ square) @ x
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for groups with ``orthogonal`` set, SGD with Nesterov's momentum for all others.

    Args:
        groups: parameters with options. One with ``orthogonal`` holds weights of convolutions without bias, and beside
            them ``parts``: the convolutions' numbers of groups.
        lr: of what is made orthogonal: the share of a weight's norm by which it moves in a step; of others as in SGD.
        momentum: of both.
        weight_decay: of the others, as in SGD.
        dtype: in which matrices are made orthogonal.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "orthogonal": False, "parts": ()}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step; weights without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parts = group["parts"] or [1] * len(group["params"])
            for weight, count in zip(group["params"], parts, strict=True):
                if weight.grad is None:
                    continue
                if group["orthogonal"]:
                    self._turn(weight, count, group["lr"], group["momentum"])
                else:
                    gradient = weight.grad.add(weight, alpha=group["weight_decay"])
                    weight.sub_(self._moved(weight, gradient, group["momentum"]), alpha=group["lr"])
        return loss

    def _moved(self, weight: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """Return the gradient with Nesterov's momentum, and remember it."""
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(momentum).add_(gradient)
        return gradient.add(state["momentum"], alpha=momentum)

    def _turn(self, weight: Tensor, parts: int, lr: float, momentum: float) -> None:
        state = self.state[weight]
        if "norm" not in state:
            state["norm"] = weight.norm()
        moved = self._moved(weight, weight.grad, momentum)  # type: ignore[arg-type]
        matrices = moved.reshape(parts, len(weight) // parts, -1)
        step = orthogonal(matrices, self.dtype).reshape(weight.shape)
        norm = state["norm"]
        weight.mul_(norm / weight.norm().clamp(min=1e-7))
        weight.sub_(step * (lr * norm / step.norm().clamp(min=1e-7)))
