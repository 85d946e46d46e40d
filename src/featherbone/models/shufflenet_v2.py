"""ShuffleNet V2: Ma et al., "Practical Guidelines for Efficient CNN Architecture Design" (arXiv 1807.11164).

Time follows memory access, not operations: equal widths (G1), few groups (G2), few fragments (G3), few element-wise
operations (G4). So half of the channels pass a unit untouched, the other half goes through 1x1 - depthwise 3x3 - 1x1,
and concatenation and channel shuffle mix them.

>>> for stride, channels in zip(*(lambda m: (m.strides, m.channels))(TABLE["shufflenet_v2_x1_0"].build())):
...     print(stride, channels)
2 24
4 24
8 116
16 232
32 464

The plain names are the authors' networks: their first unit keeps the stem's 24 channels on the projection branch (only
so do the paper's 146, 299 and 591 M operations come out), and their classifier has no bias. ``.tv`` is torchvision's
form: both branches of the first unit emit half, and the classifier has a bias. The shuffle stands after the
concatenation, as in Fig. 3; the authors' code de-interleaves at the start of the next unit instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from featherbone.layers import Head, Parallel, Shuffle, Split, conv, depthwise
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class ShuffleNetV2Spec(Spec):
    """A column of Table 5.

    Attributes:
        channels: output of stages 2, 3 and 4.
        repeats: units of each stage, the downsampling one included.
        stem_channels: output of the first convolution.
        conv5_channels: output of the last 1x1 convolution.
        first_projection: what the projection branch of the network's first unit emits; the main branch emits the rest.
        classifier_bias: whether the classifier has a bias.
        dropout: probability of dropping before the classifier.
    """

    family: ClassVar[str] = "shufflenet_v2"
    paper: ClassVar[str] = (
        "Ma, Zhang, Zheng, Sun: "
        "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, arXiv 1807.11164"
    )
    channels: tuple[int, ...]
    repeats: tuple[int, ...] = (4, 8, 4)
    stem_channels: int = 24
    conv5_channels: int = 1024
    first_projection: int = 24
    classifier_bias: bool = False
    dropout: float = 0.0

    def check(self) -> None:
        self._require_widths("channels", least=2)
        self._require("channels", all(c % 2 == 0 for c in self.channels), "even numbers, since each unit halves them")
        self._require_widths("repeats", len(self.channels))
        self._require_count("stem_channels")
        self._require_count("conv5_channels")
        self._require("first_projection", 0 < self.first_projection < self.channels[0], f"1 to {self.channels[0] - 1}")
        self._require_share("dropout")

    def build(self) -> Backbone:
        c = self.stem_channels
        # the pool is a stage of its own, so that the maps have strides 2, 4, 8, ... as in every other family
        stages: list[nn.Module] = [nn.MaxPool2d(3, 2, padding=1) if self.stem_stride == 4 else nn.Identity()]
        for c_out, repeats in zip(self.channels, self.repeats, strict=True):
            projection = self.first_projection if len(stages) == 1 else c_out // 2
            units = [_unit(c_out) for _ in range(repeats - 1)]
            stages.append(nn.Sequential(_downsampling_unit(c, c_out, projection), *units))
            c = c_out
        return Backbone(
            self,
            conv(self.in_chans, self.stem_channels, 3, stride=min(self.stem_stride, 2)),
            stages,
            nn.Sequential(
                conv(c, self.conv5_channels),
                Head(self.conv5_channels, self.num_classes, bias=self.classifier_bias, dropout=self.dropout),
            ),
            channels=(self.stem_channels, self.stem_channels, *self.channels),
            strides=(min(self.stem_stride, 2), *(self.stem_stride * 2**i for i in range(len(stages)))),
        )


def _main_branch(c_in: int, width: int, c_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(conv(c_in, width), depthwise(width, stride=stride), conv(width, c_out))


def _unit(channels: int) -> nn.Sequential:
    half = channels // 2
    return nn.Sequential(Split(half, _main_branch(half, half, half, 1)), Shuffle(2))


def _downsampling_unit(c_in: int, c_out: int, projection: int) -> nn.Sequential:
    projected = nn.Sequential(depthwise(c_in, stride=2), conv(c_in, projection))
    main = _main_branch(c_in, c_out // 2, c_out - projection, 2)
    return nn.Sequential(Parallel(projected, main), Shuffle(2))


_AUTHORS = {  # Table 5; dropout as in the authors' code
    "shufflenet_v2_x0_5": ShuffleNetV2Spec(channels=(48, 96, 192)),
    "shufflenet_v2_x1_0": ShuffleNetV2Spec(channels=(116, 232, 464)),
    "shufflenet_v2_x1_5": ShuffleNetV2Spec(channels=(176, 352, 704)),
    "shufflenet_v2_x2_0": ShuffleNetV2Spec(channels=(244, 488, 976), conv5_channels=2048, dropout=0.2),
}
_TORCHVISION = {
    f"{name}.tv": replace(row, first_projection=row.channels[0] // 2, classifier_bias=True, dropout=0.0)
    for name, row in _AUTHORS.items()
}
TABLE = _AUTHORS | _TORCHVISION
