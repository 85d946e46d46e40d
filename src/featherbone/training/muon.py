"""Muon: momentum, made orthogonal (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024).

A step turns all directions of a matrix alike, where those of SGD are ruled by a few large ones. ``torch.optim.Muon``
takes matrices alone; here the filters of a convolution are one, a matrix for each of its groups.

Source: the blog post, kellerjordan.github.io/posts/muon, for the iteration and its coefficients. A matrix keeps the
norm that it began with, much as in the author's program for CIFAR-10: a convolution before a norm computes the same at
any scale, and a step is then worth as much at the end of a run as at its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the quintic that brings singular values near 1
_ROUNDS = 3  # as in the author's program for CIFAR-10; five bring small singular values nearer, and cost more
_TINY = 1e-7


def orthogonal(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return matrices ``(N, rows, columns)`` with their singular values brought near 1 and their directions kept.

    Those that are a fiftieth of a matrix' norm or more come to 0.7 to 1.25; smaller ones grow about fortyfold.

    Args:
        matrices: any, also of rank 1.
        dtype: in which to compute; bfloat16 is enough.
    """
    x = matrices.to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_TINY)
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
        lr: of what is made orthogonal: the share of a matrix' norm by which it moves in a step; of others as in SGD.
        momentum: of both.
        weight_decay: of the others, as in SGD; weights whose norm is kept need none.
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
            learned = [
                (weight, parts)
                for weight, parts in zip(group["params"], group["parts"] or [1] * len(group["params"]), strict=True)
                if weight.grad is not None
            ]
            if not learned:
                continue
            if not group["orthogonal"]:
                self._slide([weight for weight, _ in learned], group)
                continue
            alike: dict[tuple[int, int], list[tuple[Tensor, int]]] = {}
            for weight, parts in learned:
                rows = len(weight) // parts
                alike.setdefault((rows, weight.numel() // parts // rows), []).append((weight, parts))
            for shape, some in alike.items():  # those of one shape at once: most are small, and calls take the time
                self._turn(some, shape, group["lr"], group["momentum"])
        return loss

    def _slide(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Take a step of SGD."""
        buffers: list[Any] = [self.state[weight].get("momentum") for weight in weights]  # none before the first step
        options = {name: group[name] for name in ("lr", "momentum", "weight_decay")}
        nesterov = group["momentum"] > 0
        gradients: list[Any] = [weight.grad for weight in weights]
        sgd(weights, gradients, buffers, **options, dampening=0.0, nesterov=nesterov, maximize=False, fused=True)
        for weight, buffer in zip(weights, buffers, strict=True):
            if buffer is not None:
                self.state[weight]["momentum"] = buffer

    def _turn(self, some: list[tuple[Tensor, int]], shape: tuple[int, int], lr: float, momentum: float) -> None:
        """Move matrices of one shape by a share of the norms that they began with, and keep those norms."""

        def matrices(tensors: Iterable[Tensor]) -> Tensor:
            return torch.cat([_rows(tensor).reshape(-1, *shape) for tensor in tensors])

        weights = [weight for weight, _ in some]
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
                state["norms"] = _rows(weight).reshape(-1, shape[0] * shape[1]).norm(dim=1)
            state["momentum"].mul_(momentum).add_(weight.grad)
        moved = matrices(weight.grad for weight in weights)  # type: ignore[misc]
        moved.add_(matrices(self.state[weight]["momentum"] for weight in weights), alpha=momentum)
        step = orthogonal(moved, self.dtype)
        norms = torch.cat([self.state[weight]["norms"] for weight in weights])[:, None, None]
        now = matrices(weights)
        now *= norms / now.norm(dim=(1, 2), keepdim=True).clamp(min=_TINY)
        now -= step * (lr * norms / step.norm(dim=(1, 2), keepdim=True).clamp(min=_TINY))
        for weight, changed in zip(weights, torch.split(now, [parts for _, parts in some]), strict=True):
            target = _rows(weight)
            target.copy_(changed.reshape(target.shape))


def _rows(weight: Tensor) -> Tensor:
    """Return filters in the order that they have in memory: what order the columns of a matrix have does not matter."""
    return weight.permute(0, 2, 3, 1) if weight.is_contiguous(memory_format=torch.channels_last) else weight
