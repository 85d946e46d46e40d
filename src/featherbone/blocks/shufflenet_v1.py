"""ShuffleNet's unit: Zhang, Zhou, Lin, Sun, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
Devices" (arXiv 1707.01083, sec. 3.2, Fig. 2b and c).
"""

from __future__ import annotations

from torch import nn

from featherbone.errors import require, require_count
from featherbone.layers import Parallel, Residual, Shuffle, conv, depthwise, relu


def shufflenet_v1_unit(
    c_in: int,
    c_out: int,
    *,
    groups: int,
    first_groups: int | None = None,
    stride: int = 1,
    dilation: int = 1,
    shortcut_pool: int = 3,
    shortcut_first: bool = True,
    inverse_shuffle: bool = False,
) -> nn.Sequential:
    """Return a unit, ``(B, c_in, H, W)`` to ``(B, c_out, ceil(H / stride), ceil(W / stride))``.

    Grouped 1x1 convolution, channel shuffle, depthwise 3x3, grouped 1x1. The shortcut is added where nothing changes
    its shape (Fig. 2b). Else both are concatenated (Fig. 2c): with a stride the shortcut is an average pool of 3x3; at
    stride 1 it is the input itself, which is how dilated networks for segmentation open a stage. A ReLU comes last.

    >>> import torch
    >>> shufflenet_v1_unit(240, 240, groups=3)(torch.zeros(1, 240, 13, 17)).shape
    torch.Size([1, 240, 13, 17])
    >>> shufflenet_v1_unit(240, 480, groups=3, stride=2)(torch.zeros(1, 240, 13, 17)).shape
    torch.Size([1, 480, 7, 9])
    >>> shufflenet_v1_unit(240, 480, groups=3, dilation=2)(torch.zeros(1, 240, 13, 17)).shape
    torch.Size([1, 480, 13, 17])

    Args:
        c_in: channels that come in.
        c_out: channels that go out. Inside, the unit is a quarter as wide, to the nearest whole number per group.
        groups: of the 1x1 convolutions.
        first_groups: of the first of them, if others: 1 in the paper's first unit, which reads few channels.
        stride: of the depthwise convolution, and of the shortcut's pool.
        dilation: of the depthwise convolution.
        shortcut_pool: side of the shortcut's average pool: 3 with a border (the paper's); at stride 2 also 2, without.
        shortcut_first: whether a concatenated shortcut's channels come before the others.
        inverse_shuffle: whether the shuffle is the inverse of the paper's permutation (the authors' later code).

    Raises:
        InputError: if a value is not allowed, if groups do not divide the channels, or if a concatenation leaves
            nothing for the convolutions to make.
    """
    require_count("c_in", c_in)
    require_count("c_out", c_out)
    require_count("groups", groups)
    first_name, first = ("groups", groups) if first_groups is None else ("first_groups", first_groups)
    require_count(first_name, first)
    require_count("stride", stride)
    require_count("dilation", dilation)
    bare = shortcut_pool == 2
    require("shortcut_pool", shortcut_pool, shortcut_pool == 3 or (bare and stride < 3), "3, or 2 at stride 2")
    adds = stride == 1 and c_in == c_out
    more = f"more than c_in={c_in}" if stride > 1 else f"c_in={c_in} or more"
    require("c_out", c_out, adds or c_out > c_in, f"{more}, since the shortcut's channels are part of it")
    made = c_out if adds else c_out - c_in
    require("groups", groups, made % groups == 0, f"a divisor of {made}, the channels that the convolutions make")
    # a quarter of the unit's channels (sec. 3.2), to the nearest whole number per group
    width = max(int(c_out / 4 / groups + 0.5), 1) * groups
    divides = c_in % first == 0 and width % first == 0
    require(first_name, first, divides, f"a divisor of c_in={c_in} and of {width}, the width inside the unit")
    branch = nn.Sequential(
        conv(c_in, width, groups=first),
        Shuffle(width // groups if inverse_shuffle else groups),
        depthwise(width, stride=stride, dilation=dilation),
        conv(width, made, groups=groups, act=None),
    )
    if adds:
        return nn.Sequential(Residual(branch), relu())
    shortcut: nn.Module = nn.Identity()
    if stride > 1:
        # ceil_mode, for the pool to agree with the convolution on odd sizes
        shortcut = nn.AvgPool2d(2, 2, ceil_mode=True) if bare else nn.AvgPool2d(3, stride, padding=1)
    ways = (shortcut, branch) if shortcut_first else (branch, shortcut)
    return nn.Sequential(Parallel(*ways), relu())
