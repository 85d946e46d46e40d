"""VoVNet: Lee et al., "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object Detection"
(arXiv 1904.09730).

DenseNet's layers mostly use their nearest neighbours, and their growing inputs cost memory traffic. One-shot
aggregation (OSA) chains the layers at constant width and concatenates all of them once, at the end of the module.

>>> for stride, channels in zip(*(lambda m: (m.strides, m.channels))(TABLE["vovnet39"].build())):
...     print(stride, channels)
2 64
4 256
8 512
16 768
32 1024

Where Table 1 and the authors' code differ the code is followed, as its figures are the published ones: stem strides
2, 1, 2 with no pool before the first stage, ceil-mode pools before the others, and an identity shortcut round every
module of a stage but the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from featherbone.layers import Head, OneShot, Residual, conv
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class VoVNetSpec(Spec):
    """A column of Table 1.

    Attributes:
        conv_channels: width of the 3x3 convolutions, per stage.
        concat_channels: output of the 1x1 convolution after the concatenation, per stage.
        modules: OSA modules per stage.
        layers: 3x3 convolutions per module.
        stem_channels: widths of the three stem convolutions.
    """

    family: ClassVar[str] = "vovnet"
    paper: ClassVar[str] = (
        "Lee, Hwang, Lee, Bae, Park: "
        "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object Detection, arXiv 1904.09730"
    )
    conv_channels: tuple[int, ...]
    concat_channels: tuple[int, ...]
    modules: tuple[int, ...]
    layers: int = 5
    stem_channels: tuple[int, ...] = (64, 64, 128)

    def check(self) -> None:
        self._require_widths("conv_channels")
        self._require_widths("concat_channels", len(self.conv_channels))
        self._require_widths("modules", len(self.conv_channels))
        self._require_count("layers")
        self._require_widths("stem_channels", 3)

    def build(self) -> Backbone:
        first, second, c = self.stem_channels
        stem = nn.Sequential(
            conv(self.in_chans, first, 3, stride=min(self.stem_stride, 2)),
            conv(first, second, 3),
        )
        stages: list[nn.Module] = []
        for width, c_out, modules in zip(self.conv_channels, self.concat_channels, self.modules, strict=True):
            opening = (
                nn.MaxPool2d(3, 2, ceil_mode=True)
                if stages
                else conv(second, c, 3, stride=max(self.stem_stride // 2, 1))
            )
            rest = [Residual(self._module(c_out, width, c_out)) for _ in range(modules - 1)]
            stages.append(nn.Sequential(opening, self._module(c, width, c_out), *rest))
            c = c_out
        return Backbone(
            self,
            stem,
            stages,
            Head(c, self.num_classes),
            channels=(second, *self.concat_channels),
            strides=(min(self.stem_stride, 2), *(self.stem_stride * 2**i for i in range(len(stages)))),
        )

    def _module(self, c_in: int, width: int, c_out: int) -> nn.Sequential:
        chain = OneShot([conv(c_in if i == 0 else width, width, 3) for i in range(self.layers)])
        return nn.Sequential(chain, conv(c_in + self.layers * width, c_out))


def _wide(*modules: int) -> VoVNetSpec:
    return VoVNetSpec(conv_channels=(128, 160, 192, 224), concat_channels=(256, 512, 768, 1024), modules=modules)


TABLE = {
    "vovnet27_slim": VoVNetSpec(
        conv_channels=(64, 80, 96, 112), concat_channels=(128, 256, 384, 512), modules=(1, 1, 1, 1)
    ),
    "vovnet39": _wide(1, 1, 2, 2),
    "vovnet57": _wide(1, 1, 4, 3),
}
