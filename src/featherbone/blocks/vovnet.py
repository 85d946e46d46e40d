"""VoVNet's block: Lee et al., "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object
Detection" (arXiv 1904.09730, sec. 3.2). Its gate is VoVNetV2's: Lee, Park, "CenterMask" (arXiv 1911.06667).
"""

from __future__ import annotations

from functools import partial

from torch import nn

from featherbone.errors import require, require_count
from featherbone.layers import OneShot, Residual, conv, ese


def osa_module(
    c_in: int,
    conv_channels: int,
    concat_channels: int,
    *,
    layers: int = 5,
    bottleneck: int = 0,
    residual: bool = False,
    gated: bool = False,
    depthwise: bool = False,
    dilation: int = 1,
) -> nn.Module:
    """Return a one-shot aggregation module, ``(B, c_in, H, W)`` to ``(B, concat_channels, H, W)``.

    A chain of 3x3 convolutions, whose input and whose every output are concatenated once; a 1x1 convolution follows.

    >>> import torch
    >>> osa_module(128, 64, 256)(torch.zeros(1, 128, 13, 17)).shape
    torch.Size([1, 256, 13, 17])

    Args:
        c_in: channels that come in.
        conv_channels: width of the 3x3 convolutions.
        concat_channels: output of the 1x1 convolution after the concatenation.
        layers: how many 3x3 convolutions; 5 in the paper.
        bottleneck: width of a 1x1 convolution before each 3x3 (the paper's own ablation); 0 for none.
        residual: whether the module adds its input to its output (VoVNetV2).
        gated: whether effective squeeze and excitation weighs the output, before the shortcut (VoVNetV2).
        depthwise: whether the 3x3 convolutions are depthwise, with a 1x1 after each (``separable_conv``); the module
            then reduces its input to ``conv_channels`` first, as in VoVNetV2's code.
        dilation: of every 3x3 convolution.

    Raises:
        InputError: if a value is not allowed, or if a shortcut would add other widths.
    """
    require_count("c_in", c_in)
    require_count("conv_channels", conv_channels)
    require_count("concat_channels", concat_channels)
    require_count("layers", layers)
    require_count("bottleneck", bottleneck, least=0)
    require_count("dilation", dilation)
    if residual:
        same = f"c_in={c_in}, since residual=True adds the two"
        require("concat_channels", concat_channels, concat_channels == c_in, same)
    reduces = depthwise and c_in != conv_channels
    first = conv_channels if reduces else c_in
    widths = [first, *(conv_channels for _ in range(layers - 1))]
    spatial = partial(separable_conv if depthwise else partial(conv, kernel=3), dilation=dilation)

    def link(c: int) -> nn.Sequential:
        if not bottleneck:
            return spatial(c, conv_channels)
        return nn.Sequential(*conv(c, bottleneck), *spatial(bottleneck, conv_channels))

    chain = OneShot([link(c) for c in widths], conv(c_in, conv_channels) if reduces else None)
    joined = conv(c_in + layers * conv_channels, concat_channels)
    module = nn.Sequential(chain, joined, *([ese(concat_channels)] if gated else []))
    return Residual(module) if residual else module


def separable_conv(c_in: int, c_out: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a depthwise 3x3 and a 1x1 convolution, norm and ReLU after both only (VoVNetV2's code).

    ``(B, c_in, H, W)`` to ``(B, c_out, ceil(H / stride), ceil(W / stride))``.

    >>> import torch
    >>> separable_conv(8, 16, stride=2)(torch.zeros(1, 8, 13, 17)).shape
    torch.Size([1, 16, 7, 9])

    Raises:
        InputError: if a value is not allowed.
    """
    require_count("c_in", c_in)
    require_count("c_out", c_out)
    require_count("stride", stride)
    require_count("dilation", dilation)
    return nn.Sequential(
        nn.Conv2d(c_in, c_in, 3, stride, dilation, dilation, groups=c_in, bias=False), *conv(c_in, c_out)
    )
