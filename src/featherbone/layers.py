"""Bricks and wirings: the whole vocabulary in which the papers' networks are written.

The networks of this field differ in what is concatenated with what. A *brick* is a convolution with its norm and
activation, in either order; a *wiring* says how the outputs of its parts meet. ``torch.cat`` and ``+`` between branches
occur here and nowhere else, so a rewrite or an analysis that knows these few forms knows every family.

Shapes are ``(B, C, H, W)`` throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]

relu: Activation = partial(nn.ReLU, inplace=True)


def _convolution(c_in: int, c_out: int, kernel: int, stride: int, groups: int, dilation: int) -> nn.Conv2d:
    # "same" padding at stride 1 for every odd kernel; no bias, because a norm stands before or after
    padding = dilation * (kernel // 2)
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


def depthwise(channels: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Depthwise convolution and batch norm, without an activation (ShuffleNet V1 sec. 3.2)."""
    return conv(channels, channels, kernel, stride=stride, groups=channels, dilation=dilation, act=None)


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


class Residual(nn.Module):
    """``x + body(x)``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Dense(nn.Module):
    """Layer i reads the block's input and every output before its own; all of them are the result (DenseNet eq. 2)."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(_concat(features)))
        return _concat(features)


class OneShot(nn.Module):
    """A chain whose input and whose every output are concatenated once, at the end (VoVNet sec. 3.2)."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features[-1]))
        return _concat(features)


class Split(nn.Module):
    """The first ``bypass`` channels walk round the body, the rest go through it; both are concatenated.

    CSPNet (Fig. 2b) around any body, and ShuffleNet V2's unit (Fig. 3c). A transition inside ``body``, after the
    ``Split``, or both gives CSPNet's three fusions: they are compositions, not modes.
    """

    def __init__(self, bypass: int, body: nn.Module) -> None:
        super().__init__()
        self.bypass = bypass
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = torch.split(x, [self.bypass, x.shape[1] - self.bypass], 1)
        return _concat([kept, self.body(worked)])

    def extra_repr(self) -> str:
        return f"bypass={self.bypass}"


class Parallel(nn.Module):
    """Branches that read the same input side by side; their outputs are concatenated in order."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return _concat([branch(x) for branch in self.branches])


class Head(nn.Module):
    """Global average pool, dropout, linear classifier: ``(B, C, H, W)`` to ``(B, num_classes)``.

    ``num_classes=0`` returns the pooled features, ``(B, C)``.
    """

    def __init__(self, c_in: int, num_classes: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(c_in, num_classes, bias) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x).flatten(1)  # (B, C)
        return self.classifier(self.dropout(x))


def initialise(module: nn.Module) -> None:
    """Set He-normal convolution weights (DenseNet sec. 4.1) and zero classifier biases, in place, at construction."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
        elif isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def _concat(features: list[Tensor]) -> Tensor:
    # cat of a single tensor would copy it
    return features[0] if len(features) == 1 else torch.cat(features, 1)
