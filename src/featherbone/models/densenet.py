"""DenseNet: Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks" (arXiv 1608.06993).

Every layer reads all feature maps made before it in its block and adds ``growth_rate`` new ones; nothing is computed
twice because everything is kept. Between blocks a transition compresses the channels and halves the resolution.

>>> network = TABLE["densenet121"].build()
>>> list(zip(network.strides, network.channels))
[(2, 64), (4, 256), (8, 512), (16, 1024), (32, 1024)]

Facts beside the paper: the transition has a ReLU (authors' Lua code; the text lists norm and convolution only). The
small-image stem is the paper's own for CIFAR (sec. 4.2), a 3x3 convolution. ``densenetblur121d`` is timm's, with three
3x3 convolutions in the stem (He et al., arXiv 1812.01187, Fig. 2b) and a blur in its pool (Zhang, arXiv 1904.11486).

CSPDenseNet is a reconstruction, as its configurations were never released. CSPNet (arXiv 1911.11929, Fig. 3) fixes the
wiring: the dense block reads one share of the stage's channels, and transitions stand before the shares meet, after, or
both. It leaves open the widths. Here growth rate and layers stay DenseNet's; the transition before compresses as
DenseNet's do; the one after stands behind the pool (decision 5 says why), emits what the plain stage would, and stands
after the last block too.

Initial weights: He-normal by what is written, as in the authors' Lua code (``he_normal_outputs``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import ClassVar

from torch import nn

from featherbone.blocks import dense_block, transition
from featherbone.layers import Fusion, Head, blur_pool, conv, he_normal_outputs, relu
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class DenseNetSpec(Spec):
    """A row of Tables 1 and 2.

    Attributes:
        growth_rate: k, feature maps that each layer adds.
        layers: layers of each dense block.
        stem_channels: output of the first convolution (2k for the ImageNet and BC networks, 16 for the plain ones).
        stem_norm: whether a norm and a ReLU follow the first convolution (ImageNet); the paper's CIFAR networks have
            none, as the first layer begins with them.
        deep_stem: widths of 3x3 convolutions before the stem's last, which is 3x3 then too; none for a single 7x7.
        stem_blur: odd side of the binomial filter with which the stem's pool shrinks the map; 1 for none.
        bottleneck: width of the 1x1 convolution before each 3x3, in multiples of k; 0 for none.
        compression: theta, the share of the channels that a transition keeps.
        dropout: probability of dropping after every convolution but the first.
        dropout_everywhere: whether it is after all of these, as in the authors' code, or after the 3x3 ones alone, as
            in torchvision's and in that of arXiv 1707.06990.
    """

    family: ClassVar[str] = "densenet"
    paper: ClassVar[str] = (
        "Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, arXiv 1608.06993"
    )
    growth_rate: int
    layers: tuple[int, ...]
    stem_channels: int
    stem_norm: bool = True
    deep_stem: tuple[int, ...] = ()
    stem_blur: int = 1
    bottleneck: int = 4
    compression: float = 0.5
    dropout: float = 0.0
    dropout_everywhere: bool = True

    def check(self) -> None:
        self._require_count("growth_rate")
        self._require_widths("layers")
        self._require_count("stem_channels")
        if self.deep_stem:
            self._require_widths("deep_stem")
        self._require_count("stem_blur")
        self._require("stem_blur", self.stem_blur % 2 == 1, "an odd number")
        self._require_count("bottleneck", least=0)
        self._require("compression", 0 < self.compression <= 1, "above 0, at most 1")
        self._require_share("dropout")

    def assemble(self) -> Backbone:
        channels = [self.stem_channels]
        stages: list[nn.Module] = []
        after: list[nn.Module] = []  # of the stage before: behind the pool
        c = self.stem_channels
        for number, layers in enumerate(self.layers):
            last = number == len(self.layers) - 1
            parts: list[nn.Module] = []
            if number and not self.partial_ratio:
                parts.append(self._transition(c, c := self._compressed(c)))
            if number:
                parts.append(nn.AvgPool2d(2))
            elif self.stem_stride == 4:
                parts.append(self._stem_pool())
            c_out = c + layers * self.growth_rate
            if self.partial_ratio and not last:
                c_out = self._compressed(c_out)
            body = partial(self._block, layers)
            crossed = self.cross_stage(c, c_out, body, self._transition, compression=self.compression)
            parts += [*after, crossed.whole if last else crossed.body]
            if last:
                parts.append(nn.Sequential(nn.BatchNorm2d(c_out), relu()))
            stages.append(nn.Sequential(*parts))
            channels.append(c_out if last else crossed.channels)
            c, after = c_out, crossed.after
        head = Head(channels[-1], self.num_classes)
        return Backbone(self, self._stem(), stages, head, channels=channels, strides=self._strides(len(stages)))

    def initialize(self, network: Backbone) -> None:
        he_normal_outputs(network)

    def _stem(self) -> nn.Module:
        stride = min(self.stem_stride, 2)
        if not self.deep_stem:
            return self._last(conv(self.in_chans, self.stem_channels, 3 if stride == 1 else 7, stride=stride))
        widths = (self.in_chans, *self.deep_stem)
        before = [conv(c, wider, 3, stride=1 if i else stride) for i, (c, wider) in enumerate(pairwise(widths))]
        return nn.Sequential(*before, self._last(conv(widths[-1], self.stem_channels, 3)))

    def _last(self, whole: nn.Sequential) -> nn.Module:
        return whole if self.stem_norm else whole[:1]

    def _stem_pool(self) -> nn.Module:
        if self.stem_blur == 1:
            return nn.MaxPool2d(3, 2, padding=1)
        return nn.Sequential(nn.MaxPool2d(3, 1, padding=1), blur_pool(self.stem_blur))

    def _block(self, layers: int, c_in: int) -> tuple[nn.Module, int]:
        k = self.growth_rate
        block = dense_block(
            c_in,
            layers,
            k,
            bottleneck=self.bottleneck,
            dropout=self.dropout,
            dropout_everywhere=self.dropout_everywhere,
        )
        return block, c_in + layers * k

    def _compressed(self, channels: int) -> int:
        kept = int(channels * self.compression)
        self._require("compression", kept > 0, f"a share that keeps one of {channels} channels or more")
        return kept

    def _transition(self, c_in: int, c_out: int) -> nn.Module:
        return transition(c_in, c_out, stride=1, dropout=self.dropout if self.dropout_everywhere else 0.0)


def _imagenet(growth_rate: int, *layers: int) -> DenseNetSpec:
    return DenseNetSpec(growth_rate=growth_rate, layers=layers, stem_channels=2 * growth_rate)


def _cifar(depth: int, growth_rate: int) -> DenseNetSpec:
    """Three plain blocks (Table 2). The 16 channels of the stem are the paper's; the released code has 2k."""
    layers = (depth - 4) // 3
    return DenseNetSpec(
        growth_rate=growth_rate,
        layers=(layers,) * 3,
        stem_channels=16,
        bottleneck=0,
        compression=1.0,
        stem_norm=False,
        num_classes=10,
        stem_stride=1,
    )


def _cifar_bc(depth: int, growth_rate: int) -> DenseNetSpec:
    """Three blocks with bottleneck and compression (Table 2, and the wide ones of the authors' repository)."""
    layers = (depth - 4) // 6
    return DenseNetSpec(
        growth_rate=growth_rate,
        layers=(layers,) * 3,
        stem_channels=2 * growth_rate,
        stem_norm=False,
        num_classes=10,
        stem_stride=1,
    )


_PUBLISHED = {
    "densenet121": _imagenet(32, 6, 12, 24, 16),  # Table 1
    "densenet169": _imagenet(32, 6, 12, 32, 32),  # Table 1
    "densenet201": _imagenet(32, 6, 12, 48, 32),  # Table 1
    "densenet264": _imagenet(32, 6, 12, 64, 48),  # Table 1
    "densenet161": _imagenet(48, 6, 12, 36, 24),  # authors' repository; not in Table 1
    "densenet264_k48": _imagenet(48, 6, 12, 64, 48),  # the 73 M network of arXiv 1707.06990
    "densenet40_k12_cifar": _cifar(40, 12),
    "densenet100_k12_cifar": _cifar(100, 12),
    "densenet100_k24_cifar": _cifar(100, 24),
    "densenet_bc100_k12_cifar": _cifar_bc(100, 12),
    "densenet_bc250_k24_cifar": _cifar_bc(250, 24),
    "densenet_bc190_k40_cifar": _cifar_bc(190, 40),
    "densenet_bc40_k36_cifar": _cifar_bc(40, 36),  # Wide-DenseNet-BC: the authors' advice for time and memory
    "densenet_bc40_k48_cifar": _cifar_bc(40, 48),
    "densenet_bc40_k60_cifar": _cifar_bc(40, 60),
}
_FUSIONS: dict[str, Fusion] = {"": "both", "_first": "first", "_last": "last"}
_CSP = {
    f"csp{name}{suffix}": replace(_PUBLISHED[name], partial_ratio=0.5, fusion=fusion)
    for name in ("densenet121", "densenet169", "densenet201")
    for suffix, fusion in _FUSIONS.items()
}
_TIMM = {"densenetblur121d.timm": replace(_PUBLISHED["densenet121"], deep_stem=(32, 32), stem_blur=3)}
TABLE = _PUBLISHED | _CSP | _TIMM
