"""Our backbones inside torchvision's networks: Faster R-CNN, RetinaNet and FCOS, and DeepLabV3 for dense prediction.

torchvision's detectors take a module that gives named maps of one width, its segmentation networks one that gives a
map called "out". These two are all that stands between them and a ``Pyramid``; heads, anchors and losses stay theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from featherbone.detect.necks import NeckSpec, build_neck
from featherbone.errors import InputError, needs
from featherbone.pyramid import Pyramid

Extra = Literal["pool", "p6p7"]


class TorchvisionBackbone(nn.Module):
    """A pyramid and what fuses its maps, as torchvision's detectors want it; made by ``torchvision_backbone``.

    ``(B, in_chans, H, W)`` to maps ``(B, out_channels, h, w)``, fine to coarse, named "0", "1", ... and as torchvision
    names the extra ones.
    """

    def __init__(
        self, pyramid: Pyramid, fusion: nn.Module, coarser: Callable[..., Any] | None, out_channels: int
    ) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.fusion = fusion
        self.coarser = coarser
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.pyramid(x)
        fused = self.fusion(maps)
        names = [str(i) for i in range(len(fused))]
        if self.coarser is not None:
            fused, names = self.coarser(fused, maps, names)
        return OrderedDict(zip(names, fused, strict=True))


def torchvision_backbone(
    pyramid: Pyramid, out_channels: int = 256, *, neck: NeckSpec | None = None, extra: Extra | None = "pool"
) -> TorchvisionBackbone:
    """Return a backbone for ``torchvision.models.detection``'s FasterRCNN, RetinaNet or FCOS.

    Their default anchors want five maps: for Faster R-CNN strides 4 to 32 and "pool", for RetinaNet and FCOS strides 8
    to 32 and "p6p7". Stages that are frozen stay so.

    Args:
        pyramid: maps fine to coarse, as ``create_model(..., features_only=True)`` gives.
        out_channels: channels of every map that comes out.
        neck: one of our necks instead of torchvision's feature pyramid; its widths must all be ``out_channels``.
        extra: coarser maps after the last: "pool" (one, subsampled), "p6p7" (two, by convolutions) or none.

    Raises:
        InputError: if the pyramid does not run from fine to coarse, a value is not allowed, or torchvision is absent.
    """
    with needs("train", "torchvision's detectors"):
        from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
    if list(pyramid.strides) != sorted(set(pyramid.strides)):
        raise InputError(f"pyramid with strides {pyramid.strides} is not allowed: from fine to coarse, each once")
    if not isinstance(out_channels, int) or out_channels < 1:
        raise InputError(f"out_channels={out_channels!r} is not allowed: a whole number, 1 or more")
    if extra not in ("pool", "p6p7", None):
        raise InputError(f"extra={extra!r} is not allowed: pool, p6p7 or None")
    if neck is None:
        fusion: nn.Module = _FeaturePyramid(pyramid.channels, out_channels)
    elif set(neck.widths) == {out_channels}:
        fusion = build_neck(neck, pyramid.channels, pyramid.strides)
    else:
        raise InputError(f"widths={neck.widths} is not allowed in this neck: all {out_channels}, as out_channels")
    more = {"pool": LastLevelMaxPool, "p6p7": lambda: LastLevelP6P7(out_channels, out_channels)}
    return TorchvisionBackbone(pyramid, fusion, more[extra]() if extra else None, out_channels)


class _FeaturePyramid(nn.Module):
    """torchvision's feature pyramid over a list of maps instead of named ones."""

    def __init__(self, channels: tuple[int, ...], out_channels: int) -> None:
        from torchvision.ops import FeaturePyramidNetwork

        super().__init__()
        self.fpn = FeaturePyramidNetwork(list(channels), out_channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return list(self.fpn({str(i): x for i, x in enumerate(maps)}).values())


class SegmentationBackbone(nn.Module):
    """A pyramid as torchvision's segmentation networks want it.

    ``(B, in_chans, H, W)`` to its last map as "out", ``(B, out_channels, h, w)``, and with ``aux`` the one before it as
    "aux", ``(B, aux_channels, h, w)``, for ``DeepLabV3(backbone, DeepLabHead(backbone.out_channels, classes), ...)``.

    Args:
        pyramid: made with ``output_stride`` 8 or 16, so that the last map is fine enough.
        aux: whether to give the map before the last too, for an auxiliary classifier.

    Raises:
        InputError: if the last map is coarser than every 16th pixel, or there is none before it for ``aux``.
    """

    def __init__(self, pyramid: Pyramid, *, aux: bool = False) -> None:
        super().__init__()
        if pyramid.strides[-1] > 16:
            raise InputError(
                f"pyramid whose last stride is {pyramid.strides[-1]} is not allowed: make it with output_stride=8 or 16"
            )
        if aux and len(pyramid.channels) < 2:
            raise InputError("aux=True needs a pyramid of two maps or more: give it more out_indices")
        self.pyramid = pyramid
        self.aux = aux
        self.out_channels = pyramid.channels[-1]
        self.aux_channels = pyramid.channels[-2] if aux else 0

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.pyramid(x)
        named = OrderedDict(out=maps[-1])
        if self.aux:
            named["aux"] = maps[-2]
        return named
