"""ShuffleNet V2's unit: Ma, Zhang, Zheng, Sun, "Practical Guidelines for Efficient CNN Architecture Design"
(arXiv 1807.11164, sec. 3, Fig. 3c and d).
"""

from __future__ import annotations

from torch import nn

from featherbone.errors import require, require_count
from featherbone.layers import Activation, Parallel, Residual, Shuffle, Split, conv, depthwise, relu, se


def shufflenet_v2_unit(
    c_in: int,
    c_out: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    split: bool | None = None,
    projection: int | None = None,
    extra_depthwise: bool = False,
    residual: bool = False,
    gated: bool = False,
    act: Activation = relu,
) -> nn.Sequential:
    """Return a unit, ``(B, c_in, H, W)`` to ``(B, c_out, ceil(H / stride), ceil(W / stride))``.

    Fig. 3c: half of the channels walk round 1x1, depthwise 3x3 and 1x1 convolution. Fig. 3d: two branches read all
    channels, one of them without the first 1x1. Both are concatenated, and a channel shuffle of two groups comes last.

    >>> import torch
    >>> shufflenet_v2_unit(116, 116)(torch.zeros(1, 116, 13, 17)).shape
    torch.Size([1, 116, 13, 17])
    >>> shufflenet_v2_unit(116, 232, stride=2)(torch.zeros(1, 116, 13, 17)).shape
    torch.Size([1, 232, 7, 9])
    >>> shufflenet_v2_unit(116, 232, dilation=2)(torch.zeros(1, 116, 13, 17)).shape
    torch.Size([1, 232, 13, 17])

    Args:
        c_in: channels that come in.
        c_out: channels that go out, an even number.
        stride: of the depthwise convolutions of both branches.
        dilation: of all depthwise convolutions.
        split: whether the unit is Fig. 3c's, which needs stride 1 and equal widths; by default it is wherever it can
            be. ``False`` gives Fig. 3d's there, too: the opening of a stage whose stride became a dilation.
        projection: channels that the branch without the first 1x1 makes (Fig. 3d), by default half of ``c_out``.
        extra_depthwise: whether a depthwise 3x3 opens the main branch, for a wider view (V2*, Table 7).
        residual: whether the main branch adds its input, where their widths agree (appendix Fig. 2).
        gated: whether the main branch ends in a squeeze-and-excitation gate (appendix Fig. 2).
        act: the activation.

    Raises:
        InputError: if a value is not allowed, or if a split is asked for that strides or widths do not allow.
    """
    require_count("c_in", c_in)
    require_count("c_out", c_out, least=2)
    require("c_out", c_out, c_out % 2 == 0, "an even number, since a unit has two halves")
    require_count("stride", stride)
    require_count("dilation", dilation)
    divisible = stride == 1 and c_in == c_out
    needed = f"it needs stride 1 and equal widths, not stride {stride} and {c_in} and {c_out} channels"
    require("split", split, divisible or not split, needed)
    half = c_out // 2

    def main(c_branch: int, c_made: int) -> nn.Sequential:
        """With the appendix's gate and shortcut the last activation comes after both."""
        wider_view = [depthwise(c_branch, dilation=dilation)] if extra_depthwise else []
        inner = [conv(c_branch, half, act=act), depthwise(half, stride=stride, dilation=dilation)]
        if not (gated or residual):
            return nn.Sequential(*wider_view, *inner, conv(half, c_made, act=act))
        parts = [*wider_view, *inner, conv(half, c_made, act=None), *([se(c_made, c_made)] if gated else [])]
        whole = residual and stride == 1 and c_branch == c_made
        return nn.Sequential(*([Residual(nn.Sequential(*parts))] if whole else parts), act())

    if divisible and split is not False:
        require("projection", projection, projection is None, "a unit that splits has none")
        return nn.Sequential(Split(half, main(half, half)), Shuffle(2))
    if projection is None:
        projection = half
    require_count("projection", projection)
    require("projection", projection, projection < c_out, f"1 to {c_out - 1}, less than c_out")
    projected = nn.Sequential(
        depthwise(c_in, stride=stride, dilation=dilation),
        conv(c_in, projection, act=act),
    )
    return nn.Sequential(Parallel(projected, main(c_in, c_out - projection)), Shuffle(2))
