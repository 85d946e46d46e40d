"""ResNet: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385); ResNeXt: Xie et al.,
"Aggregated Residual Transformations for Deep Neural Networks" (arXiv 1611.05431).

Every block adds what it computes to what it reads. The plain partners of CSPResNet-50 and CSPResNeXt-50: what CSPNet
saves is stated against them.

>>> network = TABLE["resnet50"].build()
>>> list(zip(network.strides, network.channels))
[(2, 64), (4, 256), (8, 512), (16, 1024), (32, 2048)]

The plain names are what the authors released in Torch: a 3x3 convolution shrinks the map (the first paper's text has
the 1x1 before it do so), and a projection makes the shortcut where shapes change (option B). ``.darknet`` is the
baseline of CSPNet's tables: leaky activations, another pool, and shortcuts without projection (option A): every second
point, and empty channels.

Initial weights: He-normal by what is written, as in the authors' Torch code; of ``.darknet`` those of darknet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

from torch import nn

from featherbone.layers import (
    Activation,
    Head,
    Residual,
    Subsample,
    conv,
    darknet_uniform,
    he_normal_outputs,
    leaky_relu,
    max_pool,
)
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class ResNetSpec(Spec):
    """A network of bottleneck blocks: a column of Table 1 of either paper.

    Attributes:
        depths: blocks of each stage.
        inner_channels: width of the 3x3 convolutions of each stage.
        out_channels: output of each stage.
        groups: of the 3x3 convolutions (cardinality).
        stem_channels: output of the first convolution.
        shortcut: where shapes change, a convolution ("projection"), or every second point and empty channels
            ("padded"): options B and A of sec. 3.3.
        pool_kernel: side of the pool after the stem.
        negative_slope: slope of the activations for negative values; 0 is the paper's ReLU.
    """

    family: ClassVar[str] = "resnet"
    paper: ClassVar[str] = (
        "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, arXiv 1512.03385; Xie, Girshick, Dollar, "
        "Tu, He: Aggregated Residual Transformations for Deep Neural Networks, arXiv 1611.05431"
    )
    depths: tuple[int, ...] = (3, 4, 6, 3)
    inner_channels: tuple[int, ...] = (64, 128, 256, 512)
    out_channels: tuple[int, ...] = (256, 512, 1024, 2048)
    groups: int = 1
    stem_channels: int = 64
    shortcut: Literal["projection", "padded"] = "projection"
    pool_kernel: int = 3
    negative_slope: float = 0.0

    def check(self) -> None:
        self._require_widths("depths")
        self._require_widths("inner_channels", len(self.depths))
        self._require_widths("out_channels", len(self.depths))
        self._require_count("groups")
        whole = all(width % self.groups == 0 for width in self.inner_channels)
        self._require("inner_channels", whole, f"multiples of groups={self.groups}")
        self._require_count("stem_channels")
        self._require("shortcut", self.shortcut in ("projection", "padded"), "projection or padded")
        widths = (self.stem_channels, *self.out_channels)
        wider = self.shortcut == "projection" or list(widths) == sorted(widths)
        self._require("shortcut", wider, "projection, where a stage has fewer channels than the one before")
        self._require("pool_kernel", self.pool_kernel in (2, 3), "2 or 3")
        self._require_share("negative_slope")

    def assemble(self) -> Backbone:
        c = self.stem_channels
        stages: list[nn.Module] = []
        for depth, inner, c_out in zip(self.depths, self.inner_channels, self.out_channels, strict=True):
            first = self._block(c, inner, c_out, stride=2 if stages else 1)
            crossed = self.cross_stage(c_out, c_out, partial(self._blocks, depth - 1, inner / c_out), self._transition)
            stages.append(nn.Sequential(*([] if stages else [self._pool()]), first, crossed.whole))
            c = c_out
        small = self.stem_stride == 1
        return Backbone(
            self,
            conv(self.in_chans, self.stem_channels, 3 if small else 7, stride=1 if small else 2, act=self._act),
            stages,
            Head(c, self.num_classes),
            channels=(self.stem_channels, *self.out_channels),
            strides=self._strides(len(stages)),
        )

    def initialize(self, network: Backbone) -> None:
        if self.shortcut == "padded":
            darknet_uniform(network)
        else:
            he_normal_outputs(network)

    @property
    def _act(self) -> Activation:
        return leaky_relu(self.negative_slope)

    def _pool(self) -> nn.Module:
        return max_pool(self.pool_kernel) if self.stem_stride == 4 else nn.Identity()

    def _transition(self, c_in: int, c_out: int) -> nn.Module:
        return conv(c_in, c_out, act=self._act)

    def _blocks(self, count: int, ratio: float, channels: int) -> tuple[nn.Module, int]:
        inner = max(round(channels * ratio / self.groups), 1) * self.groups
        return nn.Sequential(*(self._block(channels, inner, channels) for _ in range(count))), channels

    def _block(self, c_in: int, inner: int, c_out: int, stride: int = 1) -> nn.Module:
        body = nn.Sequential(
            conv(c_in, inner, act=self._act),
            conv(inner, inner, 3, stride=stride, groups=self.groups, act=self._act),
            conv(inner, c_out, act=None),
        )
        return nn.Sequential(Residual(body, self._shortcut(c_in, c_out, stride)), self._act())

    def _shortcut(self, c_in: int, c_out: int, stride: int) -> nn.Module | None:
        if self.shortcut == "projection":
            return conv(c_in, c_out, stride=stride, act=None) if (c_in, stride) != (c_out, 1) else None
        return Subsample(stride) if stride > 1 else None


_NEXT: dict[str, Any] = {"groups": 32, "inner_channels": (128, 256, 512, 1024)}
_DARKNET: dict[str, Any] = {"shortcut": "padded", "pool_kernel": 2, "negative_slope": 0.1}
_AUTHORS = {"resnet50": ResNetSpec(), "resnext50": ResNetSpec(**_NEXT)}
TABLE = _AUTHORS | {f"{name}.darknet": replace(row, **_DARKNET) for name, row in _AUTHORS.items()}
