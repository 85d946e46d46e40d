"""Bricks: a convolution with its norm and activation, in either order, and the few other layers the papers use.

Shapes are ``(B, C, H, W)`` throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from featherbone.layers.initialization import he_normal
from featherbone.layers.wirings import Parallel

Activation = Callable[[], nn.Module]

relu: Activation = partial(nn.ReLU, inplace=True)
silu: Activation = partial(nn.SiLU, inplace=True)


def leaky_relu(negative_slope: float) -> Activation:
    """Return an activation that multiplies negative values by ``negative_slope`` (0 is a plain ReLU)."""
    return partial(nn.LeakyReLU, negative_slope, inplace=True) if negative_slope else relu


def _convolution(c_in: int, c_out: int, kernel: int, stride: int, groups: int, dilation: int) -> nn.Conv2d:
    # "same" padding at stride 1 for odd kernels, at stride 2 for even ones; no bias, as a norm stands before or after
    padding = (kernel - 1) // 2 * dilation
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias=False)


def conv(
    c_in: int,
    c_out: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    act: Activation | None = relu,
) -> nn.Sequential:
    """Convolution, batch norm, activation (post-activation order). ``act=None`` leaves the activation out.

    Padding keeps the map's size at stride 1, whatever the dilation, as in ``preconv`` and ``depthwise``.

    >>> conv(3, 8, 3, stride=2)(torch.zeros(1, 3, 9, 9)).shape
    torch.Size([1, 8, 5, 5])
    """
    layers: list[nn.Module] = [_convolution(c_in, c_out, kernel, stride, groups, dilation), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, *([act()] if act else []))


def preconv(
    c_in: int,
    c_out: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    act: Activation = relu,
) -> nn.Sequential:
    """Batch norm, activation, convolution (pre-activation order, DenseNet's composite function)."""
    return nn.Sequential(nn.BatchNorm2d(c_in), act(), _convolution(c_in, c_out, kernel, stride, groups, dilation))


def depthwise(
    channels: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    act: Activation | None = None,
) -> nn.Sequential:
    """Depthwise convolution and batch norm, without an activation unless given one (ShuffleNet V1 sec. 3.2)."""
    return conv(channels, channels, kernel, stride=stride, groups=channels, dilation=dilation, act=act)


class Shuffle(nn.Module):
    """Channel shuffle (ShuffleNet V1 sec. 3.1).

    Output channel ``i * groups + k`` is input channel ``k * (C / groups) + i``.

    >>> Shuffle(2)(torch.arange(6.0).view(1, 6, 1, 1)).flatten().tolist()
    [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = x.view(batch, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).reshape(batch, channels, height, width)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class First(nn.Module):
    """The first channels of a map, empty ones where it has fewer: ``(B, C, H, W)`` to ``(B, channels, H, W)``.

    >>> First(3)(torch.ones(1, 2, 1, 1)).flatten().tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        missing = self.channels - x.shape[1]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing > 0 else x[:, : self.channels]

    def extra_repr(self) -> str:
        return f"channels={self.channels}"


class Subsample(nn.Module):
    """Every ``stride``-th point of a map, ``(B, C, ceil(H / stride), ceil(W / stride))``: no convolution, no pool.

    >>> Subsample(2)(torch.arange(9.0).view(1, 1, 3, 3)).flatten().tolist()
    [0.0, 2.0, 6.0, 8.0]
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class Gate(nn.Module):
    """``x * gate(mean of x)``: a weight per channel, worked out from its global average (squeeze and excitation)."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.pool(x))


def ese(channels: int) -> Gate:
    """Effective squeeze and excitation: one 1x1 convolution, no reduction, hard sigmoid (CenterMask, VoVNetV2)."""
    return Gate(nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Hardsigmoid(inplace=True)))


def se(channels: int, hidden: int, act: Activation = relu) -> Gate:
    """Squeeze and excitation with a hidden layer (Hu et al., who have a ReLU on it)."""
    squeeze, excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
    return Gate(nn.Sequential(squeeze, act(), excite, nn.Sigmoid()))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every position, ``(B, C, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scale(nn.Module):
    """Multiply every channel by a learned number (layer scale), at first ``start``."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Maxout(nn.Module):
    """The largest of every ``pieces`` channels: ``(B, pieces * C, H, W)`` to ``(B, C, H, W)``.

    Output channel j is the largest of the input channels j, j + C, j + 2C, ... (darknet's ``maxpool_depth``).

    >>> Maxout(2)(torch.tensor([3.0, 1.0, 2.0, 5.0]).view(1, 4, 1, 1)).flatten().tolist()
    [3.0, 5.0]
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        return x.view(batch, self.pieces, channels // self.pieces, height, width).amax(1)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class Attention(nn.Module):
    """``body(x) * gate(x)``: what the body makes of x, every value weighed from 0 to 1 by what the gate makes of it."""

    def __init__(self, body: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.gate(x)


def max_pool(side: int) -> nn.MaxPool2d:
    """The largest of 3x3 points with a border of one, or of 2x2, at every second: ``(B, C, (H + 1) // 2, ...)``."""
    # darknet's pool of 2 keeps what an odd side leaves over
    return nn.MaxPool2d(2, 2, ceil_mode=True) if side == 2 else nn.MaxPool2d(3, 2, padding=1)


def pools() -> Parallel:
    """Spatial pyramid pooling: the map beside its maxima over 5, 9 and 13 pixels, ``(B, 4 * C, H, W)``."""
    return Parallel(nn.Identity(), *(nn.MaxPool2d(side, 1, side // 2) for side in (5, 9, 13)))


def pool_pyramid(channels: int, act: Activation) -> nn.Sequential:
    """Spatial pyramid pooling of half of the channels, ``(B, C, H, W)`` to the same: as YOLOX and RTMDet have it."""
    half = channels // 2
    return nn.Sequential(conv(channels, half, act=act), pools(), conv(4 * half, channels, act=act))


def blur_pool(side: int) -> nn.Sequential:
    """Binomial filter of an odd ``side``, then every second point: ``(B, C, H, W)`` to ``(B, C, (H + 1) // 2, ...)``.

    A binomial filter is ``side - 1`` means of 2x2 points, one after another. The border is mirrored.

    Source: Zhang, "Making Convolutional Networks Shift-Invariant Again" (arXiv 1904.11486, sec. 3.2).

    >>> x = torch.tensor([4.0, 8.0, 0.0]).expand(1, 1, 3, 3)
    >>> blur_pool(3)(x)[0, 0, 0]  # (8 + 2 * 4 + 8) / 4 and (8 + 2 * 0 + 8) / 4
    tensor([6., 4.])
    """
    means = [nn.AvgPool2d(2, 1) for _ in range(side - 2)]
    return nn.Sequential(nn.ReflectionPad2d(side // 2), *means, nn.AvgPool2d(2, 2))


class Head(nn.Module):
    """Global average pool, dropout, linear classifier: ``(B, C, H, W)`` to ``(B, num_classes)``.

    ``num_classes=0`` returns the pooled features, ``(B, C)``.
    """

    def __init__(self, c_in: int, num_classes: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.c_in = c_in
        self.bias = bias
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(c_in, num_classes, bias) if num_classes else nn.Identity()

    def reset(self, num_classes: int, like: Tensor) -> None:
        """Put a new classifier in place, where ``like`` lives."""
        fresh = Head(self.c_in, num_classes, bias=self.bias)
        he_normal(fresh)
        self.classifier = fresh.classifier.to(like.device, like.dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x).flatten(1)  # (B, C)
        return self.classifier(self.dropout(x))
