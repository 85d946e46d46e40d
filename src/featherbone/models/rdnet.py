"""RDNet: Kim, Heo, Han, "DenseNets Reloaded: Paradigm Shift Beyond ResNets and ViTs" (arXiv 2403.19588).

Concatenation beats addition when it is used like a modern network: few, wide dense layers of a depthwise 7x7 and an
inverted bottleneck, layer norm, and many transitions, one after every third layer.

>>> network = TABLE["rdnet_tiny"].build()
>>> list(zip(network.strides, network.channels))
[(4, 64), (4, 256), (8, 440), (16, 744), (32, 1040)]

The stem shrinks by 4 at once, so there is no map of stride 2: index 0 is the stem's, at stride 4.

Initial weights: He-normal by what is read, as in the authors' code; the last layers scale what is added by 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from featherbone.layers import ChannelNorm, Dense, Head, Scale, ese
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class RDNetSpec(Spec):
    """One of the authors' sizes.

    Attributes:
        stem_channels: output of the patch embedding.
        growth_rates: what each layer adds, for every dense block.
        shrinks: for every dense block but the first, whether the transition before it halves the resolution.
        layers: layers of every dense block.
        expansion: width inside a layer, in multiples of what it reads.
        compression: share of the channels that a transition keeps.
        plain_blocks: how many dense blocks have no gate at the end of their layers.
    """

    family: ClassVar[str] = "rdnet"
    paper: ClassVar[str] = "Kim, Heo, Han: DenseNets Reloaded: Paradigm Shift Beyond ResNets and ViTs, arXiv 2403.19588"
    stem_channels: int
    growth_rates: tuple[int, ...]
    shrinks: tuple[bool, ...]
    layers: int = 3
    expansion: int = 4
    compression: float = 0.5
    plain_blocks: int = 2

    def check(self) -> None:
        self._require_count("stem_channels", least=8)
        self._require_widths("growth_rates")
        self._require("shrinks", len(self.shrinks) == len(self.growth_rates) - 1, "one less than growth_rates")
        self._require_count("layers")
        self._require_count("expansion")
        self._require("compression", 0 < self.compression <= 1, "above 0, at most 1")
        self._require_count("plain_blocks", least=0)

    def assemble(self) -> Backbone:
        channels, strides = [self.stem_channels], [self.stem_stride]
        stages: list[list[nn.Module]] = []
        c = self.stem_channels
        for block, growth_rate in enumerate(self.growth_rates):
            shrinks = block > 0 and self.shrinks[block - 1]
            parts: list[nn.Module] = []
            if block:
                parts.append(_transition(c, c := _eighths(c * self.compression), 2 if shrinks else 1))
            body = partial(self._block, growth_rate, gated=block >= self.plain_blocks)
            c_out = c + self.layers * growth_rate
            parts.append(self.cross_stage(c, c_out, body, _transition).whole)
            c = c_out
            if shrinks or not block:
                stages.append([])
                channels.append(c)
                strides.append(self.stem_stride * 2 ** (len(stages) - 1))
            stages[-1] += parts
            channels[-1] = c
        side = self.stem_stride
        patches = nn.Conv2d(self.in_chans, self.stem_channels, *((side, side) if side > 1 else (3, 1, 1)))
        return Backbone(
            self,
            nn.Sequential(patches, ChannelNorm(self.stem_channels)),
            [nn.Sequential(*parts) for parts in stages],
            nn.Sequential(nn.AdaptiveAvgPool2d(1), ChannelNorm(c), Head(c, self.num_classes)),
            channels=channels,
            strides=strides,
        )

    def _block(self, growth_rate: int, c_in: int, *, gated: bool) -> tuple[nn.Module, int]:
        k = growth_rate
        layers = [self._layer(c_in + i * k, k, gated=gated) for i in range(self.layers)]
        return Dense(layers), c_in + self.layers * k

    def _layer(self, c_in: int, c_out: int, *, gated: bool) -> nn.Module:
        inner = _eighths(c_in * self.expansion)
        return nn.Sequential(
            nn.Conv2d(c_in, c_in, 7, padding=3, groups=c_in),
            ChannelNorm(c_in),
            nn.Conv2d(c_in, inner, 1),
            nn.GELU(),
            nn.Conv2d(inner, c_out, 1),
            *([ese(c_out)] if gated else []),
            Scale(c_out, 1e-6),
        )


def _transition(c_in: int, c_out: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(ChannelNorm(c_in), nn.Conv2d(c_in, c_out, stride, stride))


def _eighths(channels: float) -> int:
    return max(int(channels / 8), 1) * 8


def _row(stem_channels: int, *growth_rates: int, third: int) -> RDNetSpec:
    """The resolution halves before the second dense block, before the third, and once more before ``third``."""
    shrinks = tuple(block in (2, 3, third) for block in range(2, len(growth_rates) + 1))
    return RDNetSpec(stem_channels=stem_channels, growth_rates=growth_rates, shrinks=shrinks)


TABLE = {
    "rdnet_tiny": _row(64, 64, 104, *[128] * 4, 224, third=7),
    "rdnet_small": _row(72, 64, 128, *[128] * 7, 240, 240, third=10),
    "rdnet_base": _row(120, 96, 128, *[168] * 7, 336, 336, third=10),
    "rdnet_large": _row(144, 128, 192, *[256] * 8, 360, 360, third=11),
}
