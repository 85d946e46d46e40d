"""The CSPDarknet of YOLOX: Ge et al., "YOLOX: Exceeding YOLO Series in 2021" (arXiv 2107.08430, sec. 2.1).

CSPNet's wiring with one transition, after the shares meet ("fusion first"), round Darknet's blocks; a pyramid of pools
in front of the last body widens its view. Released with detectors, so it has no classifier of its own.

>>> network = TABLE["cspdarknet_nano.yolox"].build()
>>> list(zip(network.strides, network.channels))
[(2, 16), (4, 32), (8, 64), (16, 128), (32, 256)]

The authors' stem ("Focus") folds 2x2 pixels into channels in front of a 3x3 convolution. That is a 6x6 convolution with
stride 2, which is built here.

Initial weights: PyTorch's own, which the authors' code leaves as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from featherbone.layers import Head, Residual, as_pytorch, conv, depthwise, pool_pyramid, silu
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class YOLOXDarknetSpec(Spec):
    """One of the authors' sizes.

    Attributes:
        stem_channels: output of the stem; every stage doubles it.
        depths: residual blocks of each stage.
        depthwise: whether the 3x3 convolutions after the stem are depthwise, with a 1x1 after them.
    """

    family: ClassVar[str] = "cspdarknet_yolox"
    paper: ClassVar[str] = "Ge, Liu, Wang, Li, Sun: YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430"
    published_size: ClassVar[int] = 416
    stem_channels: int
    depths: tuple[int, ...]
    depthwise: bool = False

    def check(self) -> None:
        self._require_count("stem_channels")
        self._require_widths("depths")

    def assemble(self) -> Backbone:
        channels = [self.stem_channels]
        stages: list[nn.Module] = []
        for depth in self.depths:
            c, last = 2 * channels[-1], len(channels) == len(self.depths)
            stride = 2 if stages else max(self.stem_stride // 2, 1)
            opening = [self._spatial(channels[-1], c, stride), *([pool_pyramid(c, silu)] if last else [])]
            body = partial(self._blocks, depth, shortcut=not last)
            transition = partial(conv, act=silu)
            split = [conv(c, c, act=silu)] if self.partial_ratio else []
            stages.append(nn.Sequential(*opening, *split, self.cross_stage(c, c, body, transition).whole))
            channels.append(c)
        return Backbone(
            self,
            self._stem(),
            stages,
            Head(channels[-1], self.num_classes),
            channels=channels,
            strides=self._strides(len(stages)),
        )

    def initialize(self, network: Backbone) -> None:
        as_pytorch(network)

    def _stem(self) -> nn.Module:
        if self.stem_stride == 1:
            return conv(self.in_chans, self.stem_channels, 3, act=silu)
        return conv(self.in_chans, self.stem_channels, 6, stride=2, act=silu)

    def _blocks(self, depth: int, channels: int, *, shortcut: bool) -> tuple[nn.Module, int]:
        blocks = [
            nn.Sequential(conv(channels, channels, act=silu), self._spatial(channels, channels)) for _ in range(depth)
        ]
        return nn.Sequential(*(Residual(block) if shortcut else block for block in blocks)), channels

    def _spatial(self, c_in: int, c_out: int, stride: int = 1) -> nn.Module:
        if self.depthwise:
            return nn.Sequential(depthwise(c_in, stride=stride, act=silu), conv(c_in, c_out, act=silu))
        return conv(c_in, c_out, 3, stride=stride, act=silu)


def _row(stem_channels: int, *depths: int, depthwise: bool = False) -> YOLOXDarknetSpec:
    return YOLOXDarknetSpec(
        stem_channels=stem_channels, depths=depths, depthwise=depthwise, partial_ratio=0.5, fusion="first"
    )


TABLE = {
    "cspdarknet_nano.yolox": _row(16, 1, 3, 3, 1, depthwise=True),
    "cspdarknet_tiny.yolox": _row(24, 1, 3, 3, 1),
    "cspdarknet_s.yolox": _row(32, 1, 3, 3, 1),
    "cspdarknet_m.yolox": _row(48, 2, 6, 6, 2),
    "cspdarknet_l.yolox": _row(64, 3, 9, 9, 3),
    "cspdarknet_x.yolox": _row(80, 4, 12, 12, 4),
}
