"""VoVNet's and VoVNetV2's layers in other projects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from featherbone.data import Preprocess
from featherbone.models.vovnet import VoVNetSpec, VoVNetV2Spec
from featherbone.spec import Spec
from featherbone.weights.importers.sources.source import Layer, Project


@dataclass(frozen=True)
class _Names:
    """Name patterns. Stages count from 2 in ``{s}``, modules from 1 in ``{m}``, layers from 0 in ``{l}``.

    A digit in the braces is another start: ``{s0}``, ``{l1}``.
    """

    stem: str
    layer: str
    concat: str
    reduction: str
    gate: str
    plain: tuple[str, ...]
    separable: tuple[str, ...]
    classifier: str


_SLASHES = _Names(
    stem="stem.stem_{i1}/",
    layer="stage{s}.OSA{s}_{m}.layers.{l}.OSA{s}_{m}_{l}/",
    concat="stage{s}.OSA{s}_{m}.concat.OSA{s}_{m}_concat/",
    reduction="stage{s}.OSA{s}_{m}.conv_reduction.OSA{s}_{m}_reduction_0/",
    gate="stage{s}.OSA{s}_{m}.ese.fc",
    plain=("conv", "norm"),
    separable=("dw_conv3x3", "pw_conv1x1", "pw_norm"),
    classifier="classifier",
)
_TIMM = _Names(
    stem="stem.{i0}.",
    layer="stages.{s0}.blocks.{m0}.conv_mid.{l}.",
    concat="stages.{s0}.blocks.{m0}.conv_concat.",
    reduction="stages.{s0}.blocks.{m0}.conv_reduction.",
    gate="stages.{s0}.blocks.{m0}.attn.fc",
    plain=("conv", "bn"),
    separable=("conv_dw", "conv_pw", "bn"),
    classifier="head.fc",
)
_PYTORCHCV = _Names(
    stem="features.init_block.conv{i1}.",
    layer="features.stage{s1}.unit{m}.branches.branch{l1}.",
    concat="features.stage{s1}.unit{m}.concat_conv.",
    reduction="",
    gate="",
    plain=("conv", "bn"),
    separable=(),
    classifier="output",
)


def _layers(names: _Names, spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, VoVNetSpec | VoVNetV2Spec)
    v2 = spec if isinstance(spec, VoVNetV2Spec) else None
    spatial = names.separable if v2 and v2.depthwise else names.plain
    for i in range(3):
        yield from (names.stem.format(i0=i, i1=i + 1) + part for part in (spatial if i else names.plain))
    c_in = spec.stem_channels[-1]
    for s, (modules, width, c_out) in enumerate(
        zip(spec.modules, spec.conv_channels, spec.concat_channels, strict=True)
    ):
        for m in range(modules):
            where = {"s": s + 2, "s0": s, "s1": s + 1, "m": m + 1, "m0": m}
            if v2 and v2.depthwise and (c_out if m else c_in) != width:
                yield from (names.reduction.format(**where) + part for part in names.plain)
            for i in range(spec.layers):
                yield from (names.layer.format(**where, l=i, l1=i + 1) + part for part in spatial)
            yield from (names.concat.format(**where) + part for part in names.plain)
            if v2 and (v2.ese_everywhere or m == modules - 1):
                yield names.gate.format(**where)
        c_in = c_out
    yield names.classifier


# detectron2's pixels: blue first, 0 to 255, only the mean taken off
_DETECTRON2 = Preprocess(
    size=224,
    mean=(103.530 / 255, 116.280 / 255, 123.675 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    bgr=True,
)
_ALWAYS: Mapping[str, Any] = {"residual": True, "bottleneck": 0, "partial_ratio": 0.0}
VOVNET = (
    Project(
        "stigma0617/VoVNet.pytorch",
        partial(_layers, _SLASHES),
        preprocess=Preprocess.usual(224, 3, crop=0.875),
        always=_ALWAYS,
    ),
    Project("pytorchcv", partial(_layers, _PYTORCHCV), always=_ALWAYS),
    # of the first version it has networks without shortcuts only
    Project("timm", partial(_layers, _TIMM), always={**_ALWAYS, "residual": False}),
)
VOVNET_V2 = (
    Project("youngwanLEE/vovnet-detectron2", partial(_layers, _SLASHES), preprocess=_DETECTRON2, always=_ALWAYS),
    Project("timm", partial(_layers, _TIMM), always=_ALWAYS),
)
