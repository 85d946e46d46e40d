"""PeleeNet: Wang, Li, Ling, "Pelee: A Real-Time Object Detection System on Mobile Devices" (arXiv 1804.06882).

DenseNet for small devices: every layer looks two ways (a 3x3 and, through two 3x3, a 5x5 neighbourhood), bottlenecks
never outgrow their input, transitions do not compress, norms stand after the convolutions so that they fold away.

>>> network = TABLE["peleenet"].build()
>>> list(zip(network.strides, network.channels))
[(2, 32), (4, 128), (8, 256), (16, 512), (32, 704)]

Fig. 1 draws bottlenecks of 2k; the authors' code, whose widths these are, made the results. CSPPeleeNet is a
reconstruction (CSPNet, arXiv 1911.11929, Fig. 3 and Table 1; its configuration was never released): layers and widths
stay PeleeNet's, the transition before the shares meet keeps its width, and the one after stands behind the pool. Of the
readings tried it comes nearest to the nine printed costs (decision 5).

Initial weights: the authors' code, He-normal by what is written, a small classifier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from featherbone.layers import Dense, Head, Parallel, conv, he_normal_outputs, relu, silu, small_classifier
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class PeleeNetSpec(Spec):
    """The column of Table 1.

    Attributes:
        growth_rate: k, feature maps that each layer adds, half of them on each of its two ways.
        layers: layers of each stage.
        bottleneck: width of the 1x1 convolutions of each stage, in multiples of k / 2.
        stem_channels: width of the stem.
        dropout: probability of dropping before the classifier.
        swish: whether activations are swish instead of ReLU (CSPNet, Table 3).
    """

    family: ClassVar[str] = "peleenet"
    paper: ClassVar[str] = (
        "Wang, Li, Ling: Pelee: A Real-Time Object Detection System on Mobile Devices, arXiv 1804.06882"
    )
    growth_rate: int = 32
    layers: tuple[int, ...] = (3, 4, 8, 6)
    bottleneck: tuple[int, ...] = (1, 2, 4, 4)
    stem_channels: int = 32
    dropout: float = 0.05
    swish: bool = False

    def check(self) -> None:
        self._require_count("growth_rate", least=2)
        self._require("growth_rate", self.growth_rate % 2 == 0, "an even number, since each layer halves it")
        self._require_widths("layers")
        self._require_widths("bottleneck", len(self.layers))
        self._require_count("stem_channels", least=2)
        self._require_share("dropout")

    def assemble(self) -> Backbone:
        c = self.stem_channels
        channels = [c]
        stages: list[nn.Module] = []
        after: list[nn.Module] = []  # of the stage before: behind the pool
        for layers, bottleneck in zip(self.layers, self.bottleneck, strict=True):
            last = len(stages) == len(self.layers) - 1
            opening = [nn.AvgPool2d(2) if stages else self._stem_block(), *after]
            c_out = c + layers * self.growth_rate
            crossed = self.cross_stage(c, c_out, partial(self._block, layers, bottleneck, c), self._conv)
            if not self.partial_ratio:
                crossed.body.append(self._conv(c_out, c_out))  # PeleeNet's transition; CSPNet's wiring brings its own
            stages.append(nn.Sequential(*opening, crossed.whole if last else crossed.body))
            channels.append(c_out if last else crossed.channels)
            c, after = c_out, crossed.after
        return Backbone(
            self,
            self._conv(self.in_chans, self.stem_channels, 3, stride=min(self.stem_stride, 2)),
            stages,
            Head(channels[-1], self.num_classes, dropout=self.dropout),
            channels=channels,
            strides=self._strides(len(stages)),
        )

    def initialize(self, network: Backbone) -> None:
        he_normal_outputs(network)
        small_classifier(network)

    @property
    def _conv(self) -> Callable[..., nn.Module]:
        return partial(conv, act=silu if self.swish else relu)

    def _stem_block(self) -> nn.Module:
        """Fig. 2: a pool beside a strided convolution, so that the first shrinking loses little."""
        c, stride = self.stem_channels, max(self.stem_stride // 2, 1)
        # ceil_mode, for the pool to agree with the convolution on odd sizes
        pool = nn.MaxPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()
        strided = nn.Sequential(self._conv(c, c // 2), self._conv(c // 2, c, 3, stride=stride))
        return nn.Sequential(Parallel(pool, strided), self._conv(2 * c, c))

    def _block(self, layers: int, bottleneck: int, c_plain: int, c_in: int) -> tuple[nn.Module, int]:
        """Widths are those of the plain network, whose block reads ``c_plain`` channels."""
        k = self.growth_rate
        block = [self._layer(c_in + i * k, self._width(bottleneck, c_plain + i * k)) for i in range(layers)]
        return Dense(block), c_in + layers * k

    def _width(self, bottleneck: int, c_in: int) -> int:
        width = self.growth_rate // 2 * bottleneck
        return width if width <= c_in / 2 else max(c_in // 8, 1) * 4

    def _layer(self, c_in: int, width: int) -> nn.Module:
        half = self.growth_rate // 2
        near = nn.Sequential(self._conv(c_in, width), self._conv(width, half, 3))
        far = nn.Sequential(self._conv(c_in, width), self._conv(width, half, 3), self._conv(half, half, 3))
        return Parallel(near, far)


TABLE = {
    "peleenet": PeleeNetSpec(),
    "csppeleenet": PeleeNetSpec(partial_ratio=0.5),
    "csppeleenet_first": PeleeNetSpec(partial_ratio=0.5, fusion="first"),
    "csppeleenet_last": PeleeNetSpec(partial_ratio=0.5, fusion="last"),
}
