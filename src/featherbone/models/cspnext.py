"""CSPNeXt: Lyu et al., "RTMDet: An Empirical Study of Designing Real-Time Object Detectors" (arXiv 2212.07784).

YOLOX's CSPDarknet with blocks that see further: a 3x3 convolution, then a depthwise 5x5. Their convolutions are one
more, so the stages are shallower, and a gate over the channels stands where the two shares have met. The last stage
has a pyramid of pools in front and no shortcuts.

>>> network = TABLE["cspnext_tiny.timm"].build()
>>> list(zip(network.strides, network.channels))
[(2, 24), (4, 48), (8, 96), (16, 192), (32, 384)]

Sec. 3.2 describes the backbone; its name and its classifiers are those of the authors' code (mmdetection). timm's form
has the same layers under other names. The paper's ablations compare other kernels, and networks without the gate.

Initial weights: the authors' code, which is PyTorch's own but for biases of zero, and a small classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from featherbone.layers import (
    Gate,
    Head,
    Residual,
    as_pytorch,
    conv,
    depthwise,
    ese,
    pool_pyramid,
    silu,
    small_classifier,
    zero_biases,
)
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class CSPNeXtSpec(Spec):
    """One of the authors' sizes.

    Attributes:
        stem_channels: output of the stem; its first two convolutions have half.
        depths: blocks of each stage.
        out_channels: output of each stage.
        kernel: side of the depthwise convolution in every block.
        channel_attention: whether a gate stands before the last convolution of every stage.
    """

    family: ClassVar[str] = "cspnext"
    paper: ClassVar[str] = (
        "Lyu, Zhang, Huang, Zhou, Wang, Liu, Zhang, Chen: "
        "RTMDet: An Empirical Study of Designing Real-Time Object Detectors, arXiv 2212.07784"
    )
    stem_channels: int
    depths: tuple[int, ...]
    out_channels: tuple[int, ...]
    kernel: int = 5
    channel_attention: bool = True

    def check(self) -> None:
        self._require_count("stem_channels", least=2)
        self._require_widths("depths")
        self._require_widths("out_channels", len(self.depths))
        self._require_count("kernel")
        self._require("kernel", self.kernel % 2 == 1, "an odd number")

    def assemble(self) -> Backbone:
        c = self.stem_channels
        channels = [c]
        stages: list[nn.Module] = []
        for depth, c_out in zip(self.depths, self.out_channels, strict=True):
            last = len(channels) == len(self.depths)
            stride = 2 if stages else max(self.stem_stride // 2, 1)
            opening = [conv(c, c_out, 3, stride=stride, act=silu), *([pool_pyramid(c_out, silu)] if last else [])]
            split = [conv(c_out, c_out, act=silu)] if self.partial_ratio else []
            body = partial(self._blocks, depth, shortcut=not last)
            crossed = self.cross_stage(c_out, c_out, body, partial(conv, act=silu))
            stages.append(nn.Sequential(*opening, *split, *crossed.body, *self._gate(crossed.channels), *crossed.after))
            channels.append(c := c_out)
        head = Head(c, self.num_classes)
        return Backbone(self, self._stem(), stages, head, channels=channels, strides=self._strides(len(stages)))

    def initialize(self, network: Backbone) -> None:
        as_pytorch(network)
        small_classifier(network)
        zero_biases(network)

    def _stem(self) -> nn.Module:
        half = self.stem_channels // 2
        return nn.Sequential(
            conv(self.in_chans, half, 3, stride=min(self.stem_stride, 2), act=silu),
            conv(half, half, 3, act=silu),
            conv(half, self.stem_channels, 3, act=silu),
        )

    def _blocks(self, depth: int, channels: int, *, shortcut: bool) -> tuple[nn.Module, int]:
        blocks = [
            nn.Sequential(
                conv(channels, channels, 3, act=silu),
                depthwise(channels, self.kernel, act=silu),
                conv(channels, channels, act=silu),
            )
            for _ in range(depth)
        ]
        return nn.Sequential(*(Residual(block) if shortcut else block for block in blocks)), channels

    def _gate(self, channels: int) -> list[Gate]:
        return [ese(channels)] if self.channel_attention else []


def _row(width: float, *depths: int) -> CSPNeXtSpec:
    return CSPNeXtSpec(
        stem_channels=int(width * 64),
        depths=depths,
        out_channels=tuple(int(width * c) for c in (128, 256, 512, 1024)),
        partial_ratio=0.5,
        fusion="first",
    )


TABLE = {
    "cspnext_tiny.timm": _row(0.375, 1, 1, 1, 1),
    "cspnext_s.timm": _row(0.5, 1, 2, 2, 1),
    "cspnext_m.timm": _row(0.75, 2, 4, 4, 2),
    "cspnext_l.timm": _row(1, 3, 6, 6, 3),
    "cspnext_x.timm": _row(1.25, 4, 8, 8, 4),
}
