"""ShuffleNet V2: Ma et al., "Practical Guidelines for Efficient CNN Architecture Design" (arXiv 1807.11164).

Time follows memory access, not operations: equal widths (G1), few groups (G2), few fragments (G3), few element-wise
operations (G4). So half of the channels pass a unit untouched, the other half goes through 1x1 - depthwise 3x3 - 1x1,
and concatenation and channel shuffle mix them.

>>> network = TABLE["shufflenet_v2_x1_0"].build()
>>> list(zip(network.strides, network.channels))
[(2, 24), (4, 24), (8, 116), (16, 232), (32, 464)]

The plain names are the authors' networks: their first unit keeps the stem's 24 channels on the projection branch (only
so do the paper's 146, 299 and 591 M operations come out), a unit shuffles what it reads, and the classifier has no
bias. Other forms shuffle after the concatenation, as Fig. 3 draws it: ``.tv`` is torchvision's, in which both branches
of the first unit emit half; ``.nanodet`` is that with a leaky ReLU, as NanoDet's detectors train it; ``.pcv`` is
pytorchcv's "2b", which scales the last convolution too. The released "Large" networks are others than those of the
paper's Table 6, which are built here. ``cspshufflenet`` is CSPNet's wiring (arXiv 1911.11929) round a stage's units.

Initial weights: the authors' code, 1 over the channels that a group reads (``inverse_of_inputs``). torchvision's form
was trained from PyTorch's own (a recipe's ``init="torch"``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from torch import nn

from featherbone.blocks import shufflenet_v2_unit
from featherbone.layers import Activation, Head, Shuffle, conv, inverse_of_inputs, leaky_relu, small_classifier
from featherbone.spec import Backbone, Spec


@dataclass(frozen=True, kw_only=True, repr=False)
class ShuffleNetV2Spec(Spec):
    """A column of Table 5.

    Attributes:
        channels: output of stages 2, 3 and 4.
        repeats: units of each stage, the downsampling one included.
        stem_channels: outputs of the convolutions before the pool.
        first_stride: stride of the network's first unit; 1 in the large networks.
        conv5_channels: output of the last 1x1 convolution.
        first_projection: what the projection branch of the network's first unit emits; the main branch emits the rest.
        shuffle_first: whether a unit shuffles what it reads (authors' code) or what it made (Fig. 3).
        extra_depthwise: whether a depthwise 3x3 opens every main branch, for a wider view (V2*, Table 7).
        residual: whether a unit's main branch adds its input (appendix Fig. 2c).
        se: whether main branches end in a squeeze-and-excitation gate.
        negative_slope: slope of the activation for negative values; 0 is the paper's ReLU.
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
    stem_channels: tuple[int, ...] = (24,)
    first_stride: int = 2
    conv5_channels: int = 1024
    first_projection: int = 24
    shuffle_first: bool = True
    extra_depthwise: bool = False
    residual: bool = False
    se: bool = False
    negative_slope: float = 0.0
    classifier_bias: bool = False
    dropout: float = 0.0

    def check(self) -> None:
        self._require_widths("channels", least=2)
        self._require("channels", all(c % 2 == 0 for c in self.channels), "even numbers, since each unit halves them")
        self._require_widths("repeats", len(self.channels))
        self._require_widths("stem_channels")
        self._require("first_stride", self.first_stride in (1, 2), "1 or 2")
        self._require_count("conv5_channels")
        self._require("first_projection", 0 < self.first_projection < self.channels[0], f"1 to {self.channels[0] - 1}")
        self._require_share("negative_slope")
        self._require_share("dropout")

    def assemble(self) -> Backbone:
        c = self.stem_channels[-1]
        pool = nn.MaxPool2d(3, 2, padding=1) if self.stem_stride == 4 else nn.Identity()
        # before a strided unit the pool is a stage of its own, so that the maps have strides 2, 4, 8, ... here too
        stages: list[nn.Module] = [pool] if self.first_stride == 2 else []
        for i, (c_out, repeats) in enumerate(zip(self.channels, self.repeats, strict=True)):
            first = self._downsampling_unit(c, c_out, 2 if i else self.first_stride, self._projection(i))
            opening = first if stages else nn.Sequential(pool, first)
            body = partial(self._units, repeats)
            crossed = self.cross_stage(c_out, c_out, body, conv, bypass=self._bypass(c_out, multiple=2))
            stages.append(nn.Sequential(opening, crossed.whole))
            c = c_out
        maps = (self.stem_channels[-1],) * (len(stages) - len(self.channels) + 1)
        return Backbone(
            self,
            self._stem(),
            stages,
            nn.Sequential(
                conv(c, self.conv5_channels, act=self._act),
                Head(self.conv5_channels, self.num_classes, bias=self.classifier_bias, dropout=self.dropout),
            ),
            channels=(*maps, *self.channels),
            strides=self._strides(len(stages)),
        )

    @property
    def _act(self) -> Activation:
        return leaky_relu(self.negative_slope)

    def _projection(self, stage: int) -> int:
        return self.channels[stage] // 2 if stage else self.first_projection

    def initialize(self, network: Backbone) -> None:
        inverse_of_inputs(network, network.stem)
        small_classifier(network)

    def _stem(self) -> nn.Module:
        widths = (self.in_chans, *self.stem_channels)
        strides = (min(self.stem_stride, 2), *(1 for _ in self.stem_channels[1:]))
        layers = zip(widths, widths[1:], strides, strict=False)
        return nn.Sequential(*(conv(c_in, c_out, 3, stride=s, act=self._act) for c_in, c_out, s in layers))

    def _units(self, repeats: int, channels: int) -> tuple[nn.Module, int]:
        half = channels // 2
        units: list[nn.Module] = []
        for _ in range(repeats - 1):
            unit = self._unit(channels, channels)
            # shuffling halves apart undoes shuffling two groups together: even channels walk round, odd ones work
            units += [Shuffle(half), unit[0]] if self.shuffle_first else unit
        return nn.Sequential(*units), channels

    def _downsampling_unit(self, c_in: int, c_out: int, stride: int, projection: int) -> nn.Module:
        unit = self._unit(c_in, c_out, stride=stride, split=False, projection=projection)
        return unit[0] if self.shuffle_first else unit

    def _unit(
        self, c_in: int, c_out: int, *, stride: int = 1, split: bool = True, projection: int | None = None
    ) -> nn.Sequential:
        return shufflenet_v2_unit(
            c_in,
            c_out,
            stride=stride,
            split=split,
            projection=projection,
            extra_depthwise=self.extra_depthwise,
            residual=self.residual,
            gated=self.se,
            act=self._act,
        )


_AUTHORS = {  # Table 5; dropout as in the authors' code
    "shufflenet_v2_x0_5": ShuffleNetV2Spec(channels=(48, 96, 192)),
    "shufflenet_v2_x1_0": ShuffleNetV2Spec(channels=(116, 232, 464)),
    "shufflenet_v2_x1_5": ShuffleNetV2Spec(channels=(176, 352, 704)),
    "shufflenet_v2_x2_0": ShuffleNetV2Spec(channels=(244, 488, 976), conv5_channels=2048, dropout=0.2),
}
_STAR = {f"{name}_star": replace(row, extra_depthwise=True) for name, row in _AUTHORS.items()}  # Table 7
_LARGE = {  # Table 6 and appendix Table 2
    "shufflenet_v2_50": ShuffleNetV2Spec(
        channels=(244, 488, 976, 1952),
        repeats=(3, 4, 6, 3),
        stem_channels=(64,),
        first_stride=1,
        first_projection=122,
        conv5_channels=2048,
    ),
    "se_shufflenet_v2_164": ShuffleNetV2Spec(
        channels=(340, 680, 1360, 2720),
        repeats=(10, 10, 23, 10),
        stem_channels=(64, 64, 128),
        first_stride=1,
        first_projection=170,
        conv5_channels=2048,
        residual=True,
        se=True,
    ),
}
_TORCHVISION = {
    f"{name}.tv": replace(
        row, first_projection=row.channels[0] // 2, shuffle_first=False, classifier_bias=True, dropout=0.0
    )
    for name, row in _AUTHORS.items()
}
_PYTORCHCV = {
    f"{name}.pcv": replace(row, conv5_channels=conv5_channels, shuffle_first=False, classifier_bias=True, dropout=0.0)
    for (name, row), conv5_channels in zip(_AUTHORS.items(), (1024, 1024, 1553, 2153), strict=True)
}
_NANODET = {f"{name}.nanodet": replace(_TORCHVISION[f"{name}.tv"], negative_slope=0.1) for name in list(_AUTHORS)[:3]}
_CSP = {"cspshufflenet_v2_x1_0": replace(_AUTHORS["shufflenet_v2_x1_0"], partial_ratio=0.5)}
TABLE = _AUTHORS | _STAR | _LARGE | _TORCHVISION | _PYTORCHCV | _NANODET | _CSP
