"""Larger maps from the same weights: strides become dilations (the "algorithme a trous")."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from featherbone.layers.bricks import Subsample
from featherbone.layers.wirings import Parallel, Residual


def dilate(stage: nn.Module, rate: int) -> int:
    """Take the strides out of a new stage, in place; return the rate for what comes after it.

    Every layer that shrank the image reads on at the same points, and those after it skip the points in between: the
    map keeps its size, and at every ``rate``-th point its values are those of the plain network, to the last bit of
    the image's border. Works on any stage of the bricks, as whatever shrinks an image is a convolution or a pool.

    Args:
        stage: a freshly built stage.
        rate: distance, in points of the map it reads, of those that the plain network would read.
    """
    if isinstance(stage, Parallel | Residual):
        ways = stage.branches if isinstance(stage, Parallel) else stage
        return max([_dilate_way(ways, name, rate) for name in dict(ways.named_children())])
    for name, child in stage.named_children():
        if isinstance(child, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            setattr(stage, name, _without_stride(child, rate))
            rate *= _side(child.stride)
        elif isinstance(child, Subsample):
            setattr(stage, name, nn.Identity())
            rate *= child.stride
        else:
            rate = dilate(child, rate)
    return rate


def _dilate_way(ways: nn.Module, name: str, rate: int) -> int:
    """Dilate one of the ways that read the same map."""
    alone = nn.Sequential(ways.get_submodule(name))
    after = dilate(alone, rate)
    setattr(ways, name, alone[0])
    return after


def _without_stride(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, rate: int) -> nn.Module:
    kernel, padding = _side(layer.kernel_size), _side(layer.padding)  # type: ignore[arg-type]
    own = 1 if isinstance(layer, nn.AvgPool2d) else _side(layer.dilation)
    before, after = padding * rate, ((kernel - 1) * own - padding) * rate
    border = (before, after, before, after)
    if isinstance(layer, nn.Conv2d):
        return _Conv2d(layer, rate * own, border)
    if isinstance(layer, nn.MaxPool2d):
        return nn.Sequential(nn.ConstantPad2d(border, float("-inf")), nn.MaxPool2d(kernel, 1, dilation=rate * own))
    return _Average(kernel, rate, border, "constant" if padding else "replicate")


class _Conv2d(nn.Conv2d):
    """A convolution at stride 1 whose border may be wider at one side than at the other; the weights are given."""

    def __init__(self, plain: nn.Conv2d, dilation: int, border: tuple[int, ...]) -> None:
        width = (plain.in_channels, plain.out_channels, plain.kernel_size)
        even = border[0] == border[1]
        super().__init__(
            *width,  # type: ignore[arg-type]
            padding=border[0] if even else 0,
            dilation=dilation,
            groups=plain.groups,
            bias=plain.bias is not None,
            device="meta",
        )
        self.border = () if even else border
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, self.border) if self.border else x)


class _Average(nn.Module):
    """Average of ``kernel * kernel`` points that lie ``rate`` apart; PyTorch's own average pool has no dilation."""

    def __init__(self, kernel: int, rate: int, border: tuple[int, ...], mode: Literal["constant", "replicate"]) -> None:
        super().__init__()
        self.kernel = kernel
        self.rate = rate
        self.border = border
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = nn.functional.pad(x, self.border, self.mode)
        starts = range(0, self.kernel * self.rate, self.rate)
        views = [x[:, :, top : top + height, left : left + width] for top in starts for left in starts]
        return torch.stack(views).mean(0)


def _side(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]
