"""CS3Darknet: timm's Darknets with the CSP stage of YOLOv5 ("C3"; Jocher, 2020, doi 10.5281/zenodo.3908559).

CSPNet's wiring (arXiv 1911.11929, "fusion first") round Darknet's blocks: one 1x1 convolution makes the two shares,
one share goes through the blocks, and a single transition stands where they have met. Unlike YOLOv5's, the strided
convolutions keep the width, the last stage has shortcuts too, and no pyramid of pools.

>>> network = TABLE["cs3darknet_s.timm"].build()
>>> list(zip(network.strides, network.channels))
[(2, 32), (4, 64), (8, 128), (16, 256), (32, 512)]

There is no paper; timm's code is the source of the rows. Its ``focus`` networks have YOLOv5's first convolution, 6x6
with stride 2; its ``edge`` blocks have the 3x3 convolution first (as EfficientNet-EdgeTPU's), its ``se`` blocks a gate
between the two convolutions. ``cs3sedarknet_xdw`` is no C3 network, in spite of its name, and not here.

Initial weights: timm's code. He-normal by what is written, a small classifier, and residual paths that begin at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

from torch import nn

from featherbone.layers import (
    Gate,
    Head,
    Residual,
    conv,
    he_normal_outputs,
    se,
    silu,
    small_classifier,
    zero_biases,
    zero_last_norms,
)
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class CS3DarknetSpec(Spec):
    """One of timm's configurations.

    Attributes:
        stem_channels: widths of the stem's 3x3 convolutions, the first with stride 2. A single one is 6x6.
        depths: residual blocks of each stage.
        out_channels: output of each stage.
        kernels: sides of the two convolutions of a block.
        bottleneck: width between them, as a share of the body's width.
        gate_ratio: width of the hidden layer of the gate between them, as a share of the same; 0 for no gate.
    """

    family: ClassVar[str] = "cs3darknet"
    paper: ClassVar[str] = (
        "Wang, Liao, Yeh, Wu, Chen, Hsieh: "
        "CSPNet: A New Backbone that can Enhance Learning Capability of CNN, arXiv 1911.11929; "
        "Jocher: YOLOv5, doi 10.5281/zenodo.3908559; Wightman: PyTorch Image Models, doi 10.5281/zenodo.4414861"
    )
    published_size: ClassVar[int] = 256
    stem_channels: tuple[int, ...]
    depths: tuple[int, ...]
    out_channels: tuple[int, ...]
    kernels: tuple[int, ...] = (1, 3)
    bottleneck: float = 1.0
    gate_ratio: float = 0.0

    def check(self) -> None:
        self._require_widths("stem_channels")
        self._require_widths("depths")
        self._require_widths("out_channels", len(self.depths))
        self._require_widths("kernels", 2)
        self._require("kernels", all(side % 2 for side in self.kernels), "two odd numbers")
        self._require("bottleneck", self.bottleneck > 0, "above 0")
        self._require("gate_ratio", 0 <= self.gate_ratio <= 1, "from 0 to 1")

    def assemble(self) -> Backbone:
        c = self.stem_channels[-1]
        channels = [c]
        stages: list[nn.Module] = []
        for depth, c_out in zip(self.depths, self.out_channels, strict=True):
            stride = 2 if stages else max(self.stem_stride // 2, 1)
            opening = [conv(c, c, 3, stride=stride, act=silu), conv(c, c_out, act=silu)]
            crossed = self.cross_stage(c_out, c_out, partial(self._blocks, depth), partial(conv, act=silu))
            stages.append(nn.Sequential(*opening, crossed.whole))
            channels.append(c := c_out)
        head = Head(c, self.num_classes)
        return Backbone(self, self._stem(), stages, head, channels=channels, strides=self._strides(len(stages)))

    def initialize(self, network: Backbone) -> None:
        he_normal_outputs(network)
        small_classifier(network)
        zero_biases(network)
        zero_last_norms(network)

    def _stem(self) -> nn.Module:
        stride = min(self.stem_stride, 2)
        side = 6 if len(self.stem_channels) == 1 and stride == 2 else 3
        first = conv(self.in_chans, self.stem_channels[0], side, stride=stride, act=silu)
        return nn.Sequential(first, *(conv(c, wider, 3, act=silu) for c, wider in pairwise(self.stem_channels)))

    def _blocks(self, depth: int, channels: int) -> tuple[nn.Module, int]:
        return nn.Sequential(*(self._block(channels) for _ in range(depth))), channels

    def _block(self, channels: int) -> nn.Module:
        near, far = self.kernels
        inner = max(round(channels * self.bottleneck), 1)
        ends = conv(channels, inner, near, act=silu), conv(inner, channels, far, act=silu)
        return Residual(nn.Sequential(ends[0], *self._gate(inner), ends[1]))

    def _gate(self, channels: int) -> list[Gate]:
        hidden = max(int(channels * self.gate_ratio + 4) // 8, 1) * 8  # the nearest multiple of 8
        return [se(channels, hidden, silu)] if self.gate_ratio else []


def _row(
    width: float,
    *depths: int,
    focus: bool = False,
    kernels: tuple[int, int] = (1, 3),
    bottleneck: float = 1.0,
    gate_ratio: float = 0.0,
) -> CS3DarknetSpec:
    stem = (64,) if focus else (32, 64)
    return CS3DarknetSpec(
        stem_channels=tuple(int(width * c) for c in stem),
        depths=depths,
        out_channels=tuple(int(width * c) for c in (128, 256, 512, 1024)),
        kernels=kernels,
        bottleneck=bottleneck,
        gate_ratio=gate_ratio,
        partial_ratio=0.5,
        fusion="first",
    )


TABLE = {
    "cs3darknet_s.timm": _row(0.5, 1, 3, 4, 1),
    "cs3darknet_m.timm": _row(0.75, 2, 4, 6, 2),
    "cs3darknet_l.timm": _row(1, 3, 6, 9, 3),
    "cs3darknet_x.timm": _row(1.25, 3, 7, 11, 3),
    "cs3darknet_focus_s.timm": _row(0.5, 1, 3, 4, 1, focus=True),
    "cs3darknet_focus_m.timm": _row(0.75, 2, 4, 6, 2, focus=True),
    "cs3darknet_focus_l.timm": _row(1, 3, 6, 9, 3, focus=True),
    "cs3darknet_focus_x.timm": _row(1.25, 3, 7, 11, 3, focus=True),
    "cs3sedarknet_l.timm": _row(1, 3, 6, 9, 3, gate_ratio=1 / 4),
    "cs3sedarknet_x.timm": _row(1.25, 3, 7, 11, 3, gate_ratio=1 / 16),
    "cs3edgenet_x.timm": _row(1.25, 3, 7, 11, 3, kernels=(3, 1), bottleneck=1.5),
    "cs3se_edgenet_x.timm": _row(1.25, 3, 7, 11, 3, kernels=(3, 1), bottleneck=1.5, gate_ratio=1 / 4),
}
