"""ShuffleNet V1: Zhang, Zhou, Lin, Sun, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
Devices" (arXiv 1707.01083).

1x1 convolutions dominate small networks, so they are grouped; a channel shuffle between the two of a unit lets every
group hear of all others. What grouping saves is spent on width.

>>> network = TABLE["shufflenet_v1_g3_x1_0"].build()
>>> list(zip(network.strides, network.channels))
[(2, 24), (4, 24), (8, 240), (16, 480), (32, 960)]

The paper does not say what width the first convolution has at other scales than 1; the widths here are those that give
its printed operations (13, 38, 292 and 524 M with three groups). With eight groups at 0.5x they are the 16 of the
authors' later code (40 M). ``.megvii`` is that code's form: the shuffle is the inverse permutation, the classifier has
no bias. ``.pcv`` is pytorchcv's: the pooled shortcut comes after the convolutions' channels, and the first convolution
is scaled as all others.

Initial weights: the authors' code, 1 over the channels that a group reads (``inverse_of_inputs``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from torch import nn

from featherbone.blocks import shufflenet_v1_unit
from featherbone.layers import Head, conv, inverse_of_inputs, small_classifier
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class ShuffleNetV1Spec(Spec):
    """A column of Table 1.

    Attributes:
        groups: of the 1x1 convolutions.
        channels: output of stages 2, 3 and 4.
        repeats: units of each stage, the downsampling one included.
        stem_channels: output of the first convolution.
        first_stride: stride of the network's first unit; 1 in networks for small images, whose first unit then keeps
            what it reads and adds channels beside it.
        shortcut_pool: side of the average pool of shortcuts: 3 with a border (the paper's), or 2 without.
        shortcut_first: whether the channels of the pooled shortcut come before the others.
        inverse_shuffle: whether units shuffle by the inverse of the paper's permutation.
        classifier_bias: whether the classifier has a bias.
    """

    family: ClassVar[str] = "shufflenet_v1"
    paper: ClassVar[str] = (
        "Zhang, Zhou, Lin, Sun: "
        "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, arXiv 1707.01083"
    )
    groups: int
    channels: tuple[int, ...]
    repeats: tuple[int, ...] = (4, 8, 4)
    stem_channels: int = 24
    first_stride: int = 2
    shortcut_pool: int = 3
    shortcut_first: bool = True
    inverse_shuffle: bool = False
    classifier_bias: bool = True

    def check(self) -> None:
        self._require_count("groups")
        self._require_widths("channels", least=4)
        self._require_widths("repeats", len(self.channels))
        self._require_count("stem_channels")
        self._require("first_stride", self.first_stride in (1, 2), "1 or 2")
        self._require("shortcut_pool", self.shortcut_pool in (2, 3), "2 or 3")
        whole = all(c % self.groups == 0 for c in self.channels)
        self._require("channels", whole, f"multiples of groups={self.groups}")
        inputs = (self.stem_channels, *self.channels[:-1])
        wider = [c_out - c_in for c_in, c_out in zip(inputs, self.channels, strict=True)]
        fits = all(c > 0 and c % self.groups == 0 for c in wider)
        self._require("stem_channels", fits, f"less than channels[0], by a multiple of groups={self.groups}")

    def assemble(self) -> Backbone:
        c = self.stem_channels
        pool = nn.MaxPool2d(3, 2, padding=1) if self.stem_stride == 4 else nn.Identity()
        # before a strided unit the pool is a stage of its own, so that the maps have strides 2, 4, 8, ... here too
        stages: list[nn.Module] = [pool] if self.first_stride == 2 else []
        for i, (c_out, repeats) in enumerate(zip(self.channels, self.repeats, strict=True)):
            # only the first 1x1 convolution of the first unit is not grouped, as it reads few channels (Fig. 2)
            first_groups = self.groups if i else 1
            first = self._unit(c, c_out, stride=2 if i else self.first_stride, first_groups=first_groups)
            opening = first if stages else nn.Sequential(pool, first)
            body = partial(self._units, repeats)
            crossed = self.cross_stage(c_out, c_out, body, conv, bypass=self._bypass(c_out, multiple=self.groups))
            stages.append(nn.Sequential(opening, crossed.whole))
            c = c_out
        return Backbone(
            self,
            conv(self.in_chans, self.stem_channels, 3, stride=min(self.stem_stride, 2)),
            stages,
            Head(c, self.num_classes, bias=self.classifier_bias),
            channels=(*(self.stem_channels,) * (len(stages) - len(self.channels) + 1), *self.channels),
            strides=self._strides(len(stages)),
        )

    def initialize(self, network: Backbone) -> None:
        inverse_of_inputs(network, network.stem)
        small_classifier(network)

    def _units(self, repeats: int, channels: int) -> tuple[nn.Module, int]:
        units = [self._unit(channels, channels) for _ in range(repeats - 1)]
        return nn.Sequential(*(part for unit in units for part in unit)), channels

    def _unit(self, c_in: int, c_out: int, *, stride: int = 1, first_groups: int | None = None) -> nn.Sequential:
        return shufflenet_v1_unit(
            c_in,
            c_out,
            groups=self.groups,
            first_groups=first_groups,
            stride=stride,
            shortcut_pool=self.shortcut_pool,
            shortcut_first=self.shortcut_first,
            inverse_shuffle=self.inverse_shuffle,
        )


_WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # stage 2 at scale 1, Table 1; it doubles from stage to stage
_STEMS = {"0_25": (0.25, 12), "0_5": (0.5, 12), "1_0": (1, 24), "1_5": (1.5, 24), "2_0": (2, 48)}


def _row(groups: int, scale: float, stem_channels: int, *, shortcut_first: bool = True) -> ShuffleNetV1Spec:
    width = int(_WIDTHS[groups] * scale)
    return ShuffleNetV1Spec(
        groups=groups,
        channels=(width, 2 * width, 4 * width),
        stem_channels=stem_channels,
        shortcut_first=shortcut_first,
    )


_EIGHT_GROUPS = {"0_25": 8, "0_5": 16}  # they do not divide what 12 leave
_PAPER = {
    f"shufflenet_v1_g{g}_x{name}": _row(g, scale, _EIGHT_GROUPS.get(name, stem) if g == 8 else stem)
    for g in _WIDTHS
    for name, (scale, stem) in _STEMS.items()
}
_PYTORCHCV = {
    f"shufflenet_v1_g{g}_x{name}.pcv": _row(g, scale, int(24 * scale), shortcut_first=False)
    for g in _WIDTHS
    for name, scale in (("0_25", 0.25), ("0_5", 0.5), ("0_75", 0.75), ("1_0", 1))
    if scale == 1 or g in (1, 3)
}
_MEGVII = {
    f"{name}.megvii": replace(_PAPER[name], inverse_shuffle=True, classifier_bias=False)
    for name in (f"shufflenet_v1_g{g}_x{scale}" for g in (3, 8) for scale in ("0_5", "1_0", "1_5", "2_0"))
}
TABLE = _PAPER | _PYTORCHCV | _MEGVII
