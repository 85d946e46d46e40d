"""CS3Darknet's and CSPNeXt's layers in other projects: both concatenate the body first, we what walks round it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from featherbone.models.cs3darknet import CS3DarknetSpec
from featherbone.models.cspnext import CSPNeXtSpec
from featherbone.spec import Spec
from featherbone.weights.importers.sources.source import Layer, LayerMapping, Project, pairs


def _cs3darknet(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, CS3DarknetSpec)
    yield from pairs(*(f"stem.conv{i}." for i, _ in enumerate(spec.stem_channels, 1)))
    for s, (depth, c_out) in enumerate(zip(spec.depths, spec.out_channels, strict=True)):
        stage = f"stages.{s}"
        yield from pairs(f"{stage}.conv_down.")
        yield from (LayerMapping((f"{stage}.conv_exp.{part}",), output_swaps=c_out // 2) for part in ("conv", "bn"))
        for block in range(depth):
            yield from pairs(f"{stage}.blocks.{block}.conv1.")
            if spec.gate_ratio:
                yield from (f"{stage}.blocks.{block}.attn.fc1", f"{stage}.blocks.{block}.attn.fc2")
            yield from pairs(f"{stage}.blocks.{block}.conv2.")
        yield LayerMapping((f"{stage}.conv_transition.conv",), swaps=c_out // 2)
        yield f"{stage}.conv_transition.bn"
    yield "head.fc"


def _cspnext(stage: str, first: int, spec: Spec) -> Iterator[Layer]:
    """Yield the layers of a project that calls stages ``stage`` and counts them from ``first``."""
    assert isinstance(spec, CSPNeXtSpec)
    yield from pairs(*(f"stem.{i}." for i in range(3)))
    for s, (depth, c_out) in enumerate(zip(spec.depths, spec.out_channels, strict=True)):
        last, half = s == len(spec.depths) - 1, c_out // 2
        where = f"{stage}{first + s}"
        yield from pairs(f"{where}.0.")
        if last:
            yield from pairs(f"{where}.1.conv1.", f"{where}.1.conv2.")
        cross = f"{where}.{2 if last else 1}"
        for part in ("conv", "bn"):
            yield LayerMapping((f"{cross}.short_conv.{part}", f"{cross}.main_conv.{part}"))
        for block in range(depth):
            parts = ("conv1.", "conv2.depthwise_conv.", "conv2.pointwise_conv.")
            yield from pairs(*(f"{cross}.blocks.{block}.{part}" for part in parts))
        if spec.channel_attention:
            yield LayerMapping((f"{cross}.attention.fc",), swaps=half, output_swaps=half)
        yield LayerMapping((f"{cross}.final_conv.conv",), swaps=half)
        yield f"{cross}.final_conv.bn"
    yield "head.fc"


def _without_backbone(name: str) -> str:
    # a classifier's file has the head beside the "backbone", a detector's other heads
    return name.replace("backbone.", "", 1)


CS3DARKNET = (Project("timm", _cs3darknet),)
CSPNEXT = (
    Project("timm", partial(_cspnext, "stages.", 0)),
    Project("open-mmlab/mmdetection", partial(_cspnext, "stage", 1), rename=_without_backbone),
)
