"""CSPNet: Wang et al., "CSPNet: A New Backbone that can Enhance Learning Capability of CNN" (arXiv 1911.11929).

Part of a stage's channels walks round its body and is concatenated behind it: less is computed, and gradients that
would be computed twice are cut apart. The wiring itself is ``Spec.cross_stage``, for any family's body; this file has
the networks whose bodies are residual: ResNet, ResNeXt and Darknet. Their plain partners are ``resnet50.darknet``,
``resnext50.darknet`` and ``darknet53``.

>>> network = TABLE["cspresnet50"].build()
>>> list(zip(network.strides, network.channels))
[(2, 64), (4, 128), (8, 256), (16, 512), (32, 1024)]

The plain names follow the authors' darknet configurations where the paper differs: the two shares are made by 1x1
convolutions side by side, bottlenecks stay, depths are 3, 3, 5, 2, and ResNet's and ResNeXt's first body starts
with half its width. ``.timm`` is timm's form: one convolution that is split, evenly in the first stage too, no
activation on it in ResNe(X)t, another pool and leak; its ``darknetaa53`` shrinks the map by means of 2x2 points.
Darknet's first stage is part of the stem here, so that the maps have strides 2, 4, 8, ... as everywhere.

Initial weights: those of the authors' darknet, uniform within He's standard deviation.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from torch import nn

from featherbone.layers import Activation, Head, Residual, conv, darknet_uniform, leaky_relu, max_pool
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class _ResidualSpec(Spec):
    """What the three have in common.

    Attributes:
        depths: residual blocks of each stage.
        split_channels: what the split of each stage divides; a plain network's body has all of them.
        out_channels: output of each stage.
        bottleneck: width inside the blocks of each stage, as a share of the body's width.
        groups: of the 3x3 convolutions (ResNeXt's cardinality).
        first_entry: what goes into the first stage's body, if less than the body's width; 0 for all.
        split_activation: for each stage, whether an activation follows the convolution that makes the two shares.
        two_convolutions: whether two convolutions side by side make the shares, or one, whose output is split.
        stem_channels: output of the first convolution.
        negative_slope: slope of the leaky ReLU for negative values.
    """

    paper: ClassVar[str] = (
        "Wang, Liao, Yeh, Wu, Chen, Hsieh: "
        "CSPNet: A New Backbone that can Enhance Learning Capability of CNN, arXiv 1911.11929"
    )
    published_size: ClassVar[int] = 256
    depths: tuple[int, ...]
    split_channels: tuple[int, ...]
    out_channels: tuple[int, ...]
    bottleneck: tuple[float, ...]
    split_activation: tuple[bool, ...]
    two_convolutions: bool = True
    groups: int = 1
    first_entry: int = 0
    stem_channels: int = 32
    negative_slope: float = 0.1

    def check(self) -> None:
        self._require_widths("depths")
        for name in ("split_channels", "out_channels"):
            self._require_widths(name, len(self.depths))
        shares = len(self.bottleneck) == len(self.depths) and all(share > 0 for share in self.bottleneck)
        self._require("bottleneck", shares, f"{len(self.depths)} numbers above 0")
        self._require("split_activation", len(self.split_activation) == len(self.depths), f"{len(self.depths)} of them")
        self._require_count("groups")
        self._require_count("first_entry", least=0)
        self._require_count("stem_channels")
        self._require_share("negative_slope")

    def initialize(self, network: Backbone) -> None:
        darknet_uniform(network)

    @property
    def _act(self) -> Activation:
        return leaky_relu(self.negative_slope)

    def _out(self, stage: int) -> int:
        # with nothing after the two shares meet, a stage emits what was split
        return self.split_channels[stage] if self.fusion == "last" else self.out_channels[stage]

    def _stage(self, stage: int, opening: list[nn.Module], c_in: int) -> nn.Sequential:
        split = self.split_channels[stage]
        bypass = self._bypass(split, multiple=self.groups) if self.partial_ratio else 0
        width = split - bypass
        self._require(
            "partial_ratio", 0 <= bypass < split, f"a share of {split} channels that leaves some on both ways"
        )
        entry = self.first_entry if self.first_entry and stage == 0 else width
        self._require("first_entry", 0 < entry <= width, f"at most {width}, the width of the body")
        shares, ways = self._shares(stage, c_in, bypass, entry) if self.partial_ratio else ([], None)
        body = partial(self._body, stage, width)
        transition = partial(conv, act=self._act)
        crossed = self.cross_stage(bypass + entry, self._out(stage), body, transition, bypass=bypass, ways=ways)
        return nn.Sequential(*opening, *shares, crossed.whole)

    def _shares(
        self, stage: int, c_in: int, bypass: int, entry: int
    ) -> tuple[list[nn.Module], tuple[nn.Module, nn.Module] | None]:
        """Return what makes the two shares: one convolution that is split after it, or two side by side."""
        make = partial(conv, c_in, act=self._act if self.split_activation[stage] else None)
        if self.two_convolutions and bypass:
            return [], (make(bypass), make(entry))
        return [make(bypass + entry)], None

    def _body(self, stage: int, width: int, c_in: int) -> tuple[nn.Module, int]:
        inner = round(width * self.bottleneck[stage])
        self._require("bottleneck", inner > 0, f"shares of the body's widths that leave a channel, here of {width}")
        whole = inner % self.groups == 0
        self._require("groups", whole, f"a divisor of {inner}, the width inside the blocks of stage {stage + 1}")
        blocks = [self._block(width if i else c_in, inner, width) for i in range(self.depths[stage])]
        return nn.Sequential(*blocks), width

    @abstractmethod
    def _block(self, c_in: int, inner: int, c_out: int) -> nn.Module:
        """Return one residual block."""

    def _down(self, c_in: int, c_out: int, stride: int = 2) -> nn.Module:
        whole = c_in % self.groups == c_out % self.groups == 0
        self._require("groups", whole, f"a divisor of {c_in} and {c_out}, the widths between two stages")
        return conv(c_in, c_out, 3, stride=stride, groups=self.groups, act=self._act)


@dataclass(frozen=True, kw_only=True, repr=False)
class CSPResNetSpec(_ResidualSpec):
    """A network of ResNet's or ResNeXt's bottleneck blocks.

    Attributes:
        pool_kernel: side of the pool after the stem.
    """

    family: ClassVar[str] = "cspresnet"
    pool_kernel: int = 2

    def check(self) -> None:
        super().check()
        self._require("pool_kernel", self.pool_kernel in (2, 3), "2 or 3")
        allowed = "above 0; the plain networks are resnet50.darknet and resnext50.darknet"
        self._require("partial_ratio", self.partial_ratio > 0, allowed)

    def assemble(self) -> Backbone:
        c = self.stem_channels
        stages: list[nn.Module] = []
        for i in range(len(self.depths)):
            opening = self._down(c, c) if i else self._pool()
            stages.append(self._stage(i, [opening], c))
            c = self._out(i)
        small = self.stem_stride == 1
        return Backbone(
            self,
            conv(self.in_chans, self.stem_channels, 3 if small else 7, stride=1 if small else 2, act=self._act),
            stages,
            Head(c, self.num_classes),
            channels=(self.stem_channels, *(self._out(i) for i in range(len(stages)))),
            strides=self._strides(len(stages)),
        )

    def _pool(self) -> nn.Module:
        return max_pool(self.pool_kernel) if self.stem_stride == 4 else nn.Identity()

    def _block(self, c_in: int, inner: int, c_out: int) -> nn.Module:
        act = self._act
        return nn.Sequential(
            Residual(
                nn.Sequential(
                    conv(c_in, inner, act=act),
                    conv(inner, inner, 3, groups=self.groups, act=act),
                    conv(inner, c_out, act=None),
                )
            ),
            act(),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class CSPDarknetSpec(_ResidualSpec):
    """A network of Darknet's blocks.

    Attributes:
        down_kernel: side of the convolutions that shrink the map: 3 with stride 2, or 1 after the mean of 2x2 points.
    """

    family: ClassVar[str] = "cspdarknet"
    down_kernel: int = 3

    def check(self) -> None:
        super().check()
        self._require("down_kernel", self.down_kernel in (1, 3), "1 or 3")
        self._require("depths", len(self.depths) > 1, "two stages or more, since the first is part of the stem")
        plain = self.split_channels == self.out_channels
        allowed = "above 0, or 0 with split_channels equal to out_channels, as in darknet53"
        self._require("partial_ratio", self.partial_ratio > 0 or plain, allowed)

    def assemble(self) -> Backbone:
        strides = (min(self.stem_stride, 2), max(self.stem_stride // 2, 1), *(2 for _ in self.depths[2:]))
        c = self.stem_channels
        stages: list[nn.Module] = []
        for i, stride in enumerate(strides):
            widened = self.split_channels[i] if not self.partial_ratio else 2 * c
            stages.append(self._stage(i, [self._down(c, widened, stride)], widened))
            c = self._out(i)
        return Backbone(
            self,
            nn.Sequential(conv(self.in_chans, self.stem_channels, 3, act=self._act), stages[0]),
            stages[1:],
            Head(c, self.num_classes),
            channels=(self._out(i) for i in range(len(stages))),
            strides=self._strides(len(stages) - 1),
        )

    def _down(self, c_in: int, c_out: int, stride: int = 2) -> nn.Module:
        if self.down_kernel == 3:
            return super()._down(c_in, c_out, stride)
        mean = [nn.AvgPool2d(stride)] if stride > 1 else []
        return nn.Sequential(*mean, conv(c_in, c_out, act=self._act))

    def _block(self, c_in: int, inner: int, c_out: int) -> nn.Module:
        return Residual(nn.Sequential(conv(c_in, inner, act=self._act), self._wide(inner, c_out)))

    def _wide(self, c_in: int, c_out: int) -> nn.Module:
        return conv(c_in, c_out, 3, groups=self.groups, act=self._act)


_AUTHORS = {
    "cspresnet50": CSPResNetSpec(
        depths=(3, 3, 5, 2),
        split_channels=(256, 512, 1024, 2048),
        out_channels=(128, 256, 512, 1024),
        bottleneck=(0.5,) * 4,
        split_activation=(True, False, False, True),
        first_entry=64,
        stem_channels=64,
        partial_ratio=0.5,
    ),
    "cspresnext50": CSPResNetSpec(
        depths=(3, 3, 5, 2),
        split_channels=(256, 512, 1024, 2048),
        out_channels=(256, 512, 1024, 2048),
        bottleneck=(1.0,) * 4,
        split_activation=(True, False, False, True),
        groups=32,
        first_entry=64,
        stem_channels=64,
        partial_ratio=0.5,
    ),
    "cspdarknet53": CSPDarknetSpec(
        depths=(1, 2, 8, 8, 4),
        split_channels=(128, 128, 256, 512, 1024),
        out_channels=(64, 128, 256, 512, 1024),
        bottleneck=(0.5, 1.0, 1.0, 1.0, 1.0),
        split_activation=(True,) * 5,
        partial_ratio=0.5,
    ),
    "darknet53": CSPDarknetSpec(
        depths=(1, 2, 8, 8, 4),
        split_channels=(64, 128, 256, 512, 1024),
        out_channels=(64, 128, 256, 512, 1024),
        bottleneck=(0.5,) * 5,
        split_activation=(True,) * 5,
    ),
}
_EVEN: dict[str, Any] = {"first_entry": 0, "split_activation": (False,) * 4, "pool_kernel": 3}
_TIMM = {
    f"{name}.timm": replace(
        row, negative_slope=0.01, two_convolutions=False, **(_EVEN if isinstance(row, CSPResNetSpec) else {})
    )
    for name, row in _AUTHORS.items()
}
_MEAN: dict[str, Any] = {"down_kernel": 1}
_TIMM |= {"darknetaa53.timm": replace(_TIMM["darknet53.timm"], **_MEAN)}
TABLE = _AUTHORS | _TIMM
