"""VoVNet: Lee et al., "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object Detection"
(arXiv 1904.09730).

DenseNet's layers mostly use their nearest neighbours, and their growing inputs cost memory traffic. One-shot
aggregation (OSA) chains the layers at constant width and concatenates all of them once, at the end of the module.

>>> network = TABLE["vovnet39"].build()
>>> list(zip(network.strides, network.channels))
[(2, 64), (4, 256), (8, 512), (16, 768), (32, 1024)]

Where Table 1 and the authors' code differ the code is followed, as its figures are the published ones: stem strides
2, 1, 2 with no pool before the first stage, ceil-mode pools before the others, and an identity shortcut round every
module of a stage but the first.

VoVNetV2 (CenterMask, arXiv 1911.06667) adds a gate to every module, before the shortcut. Its paper draws a sigmoid, the
code has a hard one; the code's flag for leaving gates out is never read, so all modules have one. ``.timm`` has them in
the last module of each stage only, and in its V1 networks no shortcut. ``cspvovnet39`` is CSPNet's wiring
(arXiv 1911.11929) round V1's stages.

Initial weights: He-normal by what is read, as in the authors' code.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from torch import nn

from featherbone.blocks import osa_module, separable_conv
from featherbone.layers import Head, Residual, conv
from featherbone.spec import Backbone, Spec

Columns = dict[str, Any]


@dataclass(frozen=True, kw_only=True, repr=False)
class _OneShotSpec(Spec):
    """What both versions have in common.

    Attributes:
        conv_channels: width of the 3x3 convolutions, per stage.
        concat_channels: output of the 1x1 convolution after the concatenation, per stage.
        modules: OSA modules per stage.
        layers: 3x3 convolutions per module.
        stem_channels: widths of the three stem convolutions.
        residual: whether modules after a stage's first add their input.
        bottleneck: width of a 1x1 convolution before each 3x3 of a module, 0 for none (VoVNet's ablation of it).
    """

    conv_channels: tuple[int, ...]
    concat_channels: tuple[int, ...]
    modules: tuple[int, ...]
    layers: int = 5
    stem_channels: tuple[int, ...] = (64, 64, 128)
    residual: bool = True
    bottleneck: int = 0

    def check(self) -> None:
        self._require_widths("conv_channels")
        self._require_widths("concat_channels", len(self.conv_channels))
        self._require_widths("modules", len(self.conv_channels))
        self._require_count("layers")
        self._require_widths("stem_channels", 3)
        self._require_count("bottleneck", least=0)

    def assemble(self) -> Backbone:
        first, second, c = self.stem_channels
        stem = nn.Sequential(
            conv(self.in_chans, first, 3, stride=min(self.stem_stride, 2)),
            self._conv(first, second),
        )
        stages: list[nn.Module] = []
        channels = [second]
        after: list[nn.Module] = []  # of the stage before: behind the pool
        for width, c_out, modules in zip(self.conv_channels, self.concat_channels, self.modules, strict=True):
            opening = (
                nn.MaxPool2d(3, 2, ceil_mode=True)
                if stages
                else self._conv(second, c, stride=max(self.stem_stride // 2, 1))
            )
            last = len(stages) == len(self.modules) - 1
            body, closed = partial(self._body, modules, width, c_out), partial(self._modules, modules, width)
            crossed = self.cross_stage(c, c_out, body, conv, closed=closed)  # the modules' own 1x1 is a transition
            stages.append(nn.Sequential(opening, *after, crossed.whole if last else crossed.body))
            channels.append(c_out if last else crossed.channels)
            c, after = c_out, crossed.after
        return Backbone(
            self,
            stem,
            stages,
            Head(c, self.num_classes),
            channels=channels,
            strides=self._strides(len(stages)),
        )

    def _body(self, count: int, width: int, c_out: int, c_in: int) -> tuple[nn.Module, int]:
        return self._modules(count, width, c_in, c_out), c_out

    def _modules(self, count: int, width: int, c_in: int, c_out: int) -> nn.Module:
        """The first module has no shortcut, as it changes the number of channels."""
        first = self._module(c_in, width, c_out, gated=self._gated(0, count))
        rest = [self._module(c_out, width, c_out, gated=self._gated(i, count)) for i in range(1, count)]
        return nn.Sequential(first, *(map(Residual, rest) if self.residual else rest))

    def _module(self, c_in: int, width: int, c_out: int, *, gated: bool) -> nn.Module:
        return osa_module(
            c_in,
            width,
            c_out,
            layers=self.layers,
            bottleneck=self.bottleneck,
            gated=gated,
            depthwise=self._separable,
        )

    def _conv(self, c_in: int, c_out: int, *, stride: int = 1) -> nn.Sequential:
        if not self._separable:
            return conv(c_in, c_out, 3, stride=stride)
        return separable_conv(c_in, c_out, stride=stride)

    @property
    @abstractmethod
    def _separable(self) -> bool:
        """Whether the 3x3 convolutions are depthwise, with a 1x1 after them."""

    @abstractmethod
    def _gated(self, module: int, count: int) -> bool:
        """Tell whether this one of the ``count`` modules of a stage has a gate."""


@dataclass(frozen=True, kw_only=True, repr=False)
class VoVNetSpec(_OneShotSpec):
    """A column of Table 1."""

    family: ClassVar[str] = "vovnet"
    paper: ClassVar[str] = (
        "Lee, Hwang, Lee, Bae, Park: "
        "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object Detection, arXiv 1904.09730"
    )

    @property
    def _separable(self) -> bool:
        return False

    def _gated(self, module: int, count: int) -> bool:
        return False


@dataclass(frozen=True, kw_only=True, repr=False)
class VoVNetV2Spec(_OneShotSpec):
    """A row of the authors' V2 networks: every module weighs its channels (effective squeeze and excitation).

    Attributes:
        depthwise: whether the 3x3 convolutions are depthwise, with a 1x1 after them and none of norm or ReLU between;
            a module then reduces its input to ``conv_channels`` first.
        ese_everywhere: whether every module has the gate (authors' code) or the last of each stage only.
    """

    family: ClassVar[str] = "vovnet_v2"
    paper: ClassVar[str] = (
        "Lee, Park: CenterMask: Real-Time Anchor-Free Instance Segmentation, arXiv 1911.06667 (VoVNetV2)"
    )
    depthwise: bool = False
    ese_everywhere: bool = True

    @property
    def _separable(self) -> bool:
        return self.depthwise

    def _gated(self, module: int, count: int) -> bool:
        return self.ese_everywhere or module == count - 1


_WIDE: Columns = {"conv_channels": (128, 160, 192, 224), "concat_channels": (256, 512, 768, 1024)}
_SLIM: Columns = {"conv_channels": (64, 80, 96, 112), "concat_channels": (128, 256, 384, 512)}
_SLIM_V2: Columns = {"conv_channels": (64, 80, 96, 112), "concat_channels": (112, 256, 384, 512)}
_LIGHT: Columns = {"layers": 3, "modules": (1, 1, 1, 1)}
_DEPTHWISE: Columns = {"depthwise": True, "stem_channels": (64, 64, 64)}

_V1 = {
    "vovnet27_slim": VoVNetSpec(**_SLIM, modules=(1, 1, 1, 1)),
    "vovnet39": VoVNetSpec(**_WIDE, modules=(1, 1, 2, 2)),
    "vovnet57": VoVNetSpec(**_WIDE, modules=(1, 1, 4, 3)),
}
_V2 = {
    "vovnet_v2_19_slim_dw": VoVNetV2Spec(**_SLIM_V2, **_LIGHT, **_DEPTHWISE),
    "vovnet_v2_19_dw": VoVNetV2Spec(**_WIDE, **_LIGHT, **_DEPTHWISE),
    "vovnet_v2_19_slim": VoVNetV2Spec(**_SLIM_V2, **_LIGHT),
    "vovnet_v2_19": VoVNetV2Spec(**_WIDE, **_LIGHT),
    "vovnet_v2_39": VoVNetV2Spec(**_WIDE, modules=(1, 1, 2, 2)),
    "vovnet_v2_57": VoVNetV2Spec(**_WIDE, modules=(1, 1, 4, 3)),
    "vovnet_v2_99": VoVNetV2Spec(**_WIDE, modules=(1, 3, 9, 3)),
}
_TIMM = {f"{name}.timm": replace(_V2[name], ese_everywhere=False) for name in list(_V2)[-3:]}
_TIMM_V1 = {f"{name}a.timm": replace(_V1[name], residual=False) for name in ("vovnet39", "vovnet57")}
_CSP = {"cspvovnet39": replace(_V1["vovnet39"], partial_ratio=0.5)}
TABLE = _V1 | _V2 | _TIMM | _TIMM_V1 | _CSP
