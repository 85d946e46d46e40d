"""What is kept for the backward pass when the rest is computed again there.

``again`` keeps what a path reads and runs all of it a second time, by PyTorch's checkpoint. ``leanly`` does that to the
cheap and wide things only, concatenation, norm and ReLU, and keeps what the convolutions make of them, which is
narrow: Pleiss et al., "Memory-Efficient Implementation of DenseNets" (arXiv 1707.06990).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def concat(features: Sequence[Tensor]) -> Tensor:
    """Return the features side by side, ``(B, sum of C, H, W)``."""
    # cat of a single tensor would copy it
    return features[0] if len(features) == 1 else torch.cat(list(features), 1)


def in_turn(bricks: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Return the output of the last brick; each reads the output of the one before it."""
    for brick in bricks:
        x = brick(x)
    return x


def again(bricks: Sequence[nn.Module], features: Sequence[Tensor]) -> Tensor:
    """Return ``in_turn`` of the concatenated features; only the features are kept for the backward pass."""

    def run(*features: Tensor) -> Tensor:
        return in_turn(bricks, concat(features))

    runs = count()

    def run_once(*features: Tensor) -> Tensor:
        with _buffers_kept(bricks) if next(runs) else nullcontext():
            return run(*features)

    # the compiler recomputes functions, so there statistics are written once anyway
    return checkpoint(run if torch.compiler.is_compiling() else run_once, *features, use_reentrant=False)


@contextmanager
def _buffers_kept(bricks: Sequence[nn.Module]) -> Iterator[None]:
    """Give the bricks copies of their buffers inside the block, so that a second run changes no running statistics."""
    parts = [part for brick in bricks for part in brick.modules()]
    kept = [(part, dict(part.named_buffers(recurse=False))) for part in parts]
    try:
        for part, buffers in kept:
            for name, buffer in buffers.items():
                setattr(part, name, buffer.clone())
        yield
    finally:
        for part, buffers in kept:
            for name, buffer in buffers.items():
                setattr(part, name, buffer)


def leanly(bricks: Sequence[nn.Module], features: Sequence[Tensor]) -> Tensor:
    """Return ``again(bricks, features)``, but with every convolution's output kept and no convolution computed twice.

    That is for dense layers as the papers have them: convolutions that stand alone or after a norm and a ReLU, perhaps
    with dropout after them. Those made of other things are computed again as a whole.
    """
    steps, rest = _steps(bricks)
    batch = features[0].numel() // features[0].shape[1]
    if not steps or not all(_cheap(step, batch) for step in steps):
        return again(bricks, features)
    for step in steps:
        # the compiler has its own ways to leave out what need not be computed
        features = [again(step, features) if torch.compiler.is_compiling() else _convolved(step, features)]
    return in_turn(rest, features[0])


def _steps(bricks: Sequence[nn.Module]) -> tuple[list[list[nn.Module]], list[nn.Module]]:
    """Return what leads to each convolution, with it, and what comes after the last; dropout between them is a step."""
    steps: list[list[nn.Module]] = []
    rest: list[nn.Module] = []
    for brick in bricks:
        rest.append(brick)
        if isinstance(brick, nn.Conv2d) or (steps and isinstance(brick, nn.Dropout)):
            steps.append(rest)
            rest = []
    return steps, rest


def _cheap(step: Sequence[nn.Module], batch: int) -> bool:
    """Tell whether this is a convolution alone, or a norm by the batch's statistics, a ReLU and a convolution."""
    *before, conv = step
    if isinstance(conv, nn.Dropout):
        return not before  # narrow, and run once
    if type(conv) is not nn.Conv2d or conv.bias is not None or isinstance(conv.padding, str):
        return False
    # a depthwise convolution is cheap itself, and what it makes as wide as what it reads
    if conv.groups > 1 or conv.padding_mode != "zeros":
        return False
    if not before:
        return True
    norm = before[0]
    if type(norm) is not nn.BatchNorm2d or [type(brick) for brick in before[1:]] != [nn.ReLU]:
        return False
    return norm.training and norm.affine and norm.track_running_stats and norm.momentum is not None and batch > 1


def _convolved(step: Sequence[nn.Module], features: Sequence[Tensor]) -> Tensor:
    *before, conv = step
    if not before and len(features) == 1:
        return conv(features[0])
    norm: Any = before[0] if before else None
    affine = (norm.weight, norm.bias) if norm else (None, None)
    return _Convolution.apply(norm, conv, *affine, conv.weight, *features)


class _Convolution(torch.autograd.Function):
    """A convolution of the concatenated features, which a norm and a ReLU may come before."""

    @staticmethod
    def forward(ctx: Any, norm: Any, conv: Any, gain: Any, shift: Any, weight: Tensor, *features: Tensor) -> Tensor:
        x, mean, inverse = concat(features), None, None
        if norm:
            norm.num_batches_tracked.add_(1)
            running = norm.running_mean, norm.running_var
            x, mean, inverse = torch.native_batch_norm(
                x, gain, shift, *running, training=True, momentum=norm.momentum, eps=norm.eps
            )
            x.relu_()
        ctx.save_for_backward(gain, shift, weight, mean, inverse, *features)
        ctx.norm, ctx.conv = norm, conv
        return conv(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        gain, shift, weight, mean, inverse, *features = ctx.saved_tensors
        _, _, for_gain, for_shift, for_weight, *for_features = ctx.needs_input_grad
        before = (any(for_features), for_gain, for_shift)
        x = concat(features)
        read = _rectified(x, gain, shift, mean, inverse, ctx.norm.eps) if ctx.norm else x
        gx, gw = _through_convolution(gradient, read, weight, ctx.conv, (any(before), for_weight))
        gg = gs = None
        if ctx.norm and any(before):
            gx = torch.ops.aten.threshold_backward(gx, read, 0)
            del read
            statistics = (None, None, mean, inverse)
            gx, gg, gs = torch.ops.aten.native_batch_norm_backward(
                gx, x, gain, *statistics, train=True, eps=ctx.norm.eps, output_mask=before
            )
        widths = [feature.shape[1] for feature in features]
        return (None, None, gg, gs, gw, *(gx.split(widths, 1) if before[0] else [None for _ in features]))


def _rectified(x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor, inverse: Tensor, eps: float) -> Tensor:
    """Return norm and ReLU by the statistics that ``x`` is known to have."""
    if torch.is_grad_enabled():  # a second derivative, which goes through the statistics too
        return torch.native_batch_norm(x, gain, shift, None, None, training=True, momentum=0.0, eps=eps)[0].relu()
    # as the kernel does, gain times deviation first, and one over the root of one is one: the same to the last bit
    by = (gain * inverse, shift, mean, torch.ones_like(mean))
    return torch.native_batch_norm(x, *by, training=False, momentum=0.0, eps=0.0)[0].relu_()


def _through_convolution(
    gradient: Tensor, read: Tensor, weight: Tensor, conv: nn.Conv2d, wanted: tuple[bool, bool]
) -> tuple[Any, Any]:
    """Return the gradients of what a convolution read and of its weight, each in its own precision."""
    precision = gradient.dtype  # under autocast the one in which the convolution was computed
    gx, gw, _ = torch.ops.aten.convolution_backward(
        *(gradient, read.to(precision), weight.to(precision), None),
        *(conv.stride, conv.padding, conv.dilation),
        transposed=False,
        output_padding=(0, 0),
        groups=conv.groups,
        output_mask=(*wanted, False),
    )
    return gx if gx is None else gx.to(read.dtype), gw if gw is None else gw.to(weight.dtype)
