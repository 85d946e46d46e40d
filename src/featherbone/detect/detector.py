"""Detectors: a backbone's maps, a neck that fuses them and a head that answers; and what is done to a whole one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from featherbone.detect._spec import DetectorSpec
from featherbone.detect.heads import AnchoredHead, BoxHead, FreeHead
from featherbone.detect.necks import Neck, build_neck
from featherbone.errors import InputError
from featherbone.pyramid import Pyramid
from featherbone.spec import Backbone


class Detector(nn.Module):
    """Images ``(B, in_chans, H, W)`` to boxes and their classes' probabilities, ``(B, N, 4 + num_classes)``.

    Boxes are x1, y1, x2, y2 in pixels of the input and may stick out of it; probabilities are 0 to 1 for every class.
    ``featherbone.detect.postprocess`` makes a list of objects of them.

    Attributes:
        spec: the row this detector was built from.
        backbone: gives the maps.
        neck: fuses them.
        head: answers; its ``decode`` makes boxes of ``raw``.
    """

    def __init__(self, spec: DetectorSpec, backbone: Pyramid, neck: Neck, head: BoxHead) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.neck = neck
        self.head = head

    @property
    def multiple(self) -> int:
        """Number of pixels of which both sides of an input are multiples."""
        return max(self.head.strides)

    def raw(self, x: Tensor) -> list[Tensor]:
        """Return the raw predictions of every scale, fine to coarse, ``(B, cells, outputs)``, for the losses.

        Raises:
            InputError: if a side is not a multiple of the largest stride.
        """
        if not torch.compiler.is_compiling():
            self._check(x.shape)
        return self.head(self.neck(self.backbone(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head.decode(self.raw(x), (x.shape[2], x.shape[3]))

    def _check(self, shape: Sequence[int]) -> None:
        height, width = shape[2:]
        if min(height, width) < 1 or height % self.multiple or width % self.multiple:
            raise InputError(
                f"an input of {height} x {width} pixels is not allowed: both sides are multiples of {self.multiple}"
            )


def assemble(spec: DetectorSpec) -> Detector:
    """Return the detector of a row, freshly initialised; ``spec.build()`` is the way to call it."""
    network = spec.backbone.build()
    count, wanted = len(network.channels), len(spec.neck.widths) + spec.neck.finer
    if wanted > count:
        raise InputError(f"neck={spec.neck.kind!r} needs {wanted} maps, but the backbone has {count}")
    backbone = Pyramid(network, range(count - wanted, count))
    neck = build_neck(spec.neck, backbone.channels, backbone.strides)
    if spec.head == "anchors":
        head: BoxHead = AnchoredHead(neck.channels, neck.strides, spec.num_classes, spec.anchors)
    else:
        head = FreeHead(neck.channels, neck.strides, spec.num_classes)
    return Detector(spec, backbone, neck, head)


def reset_classes(detector: Detector, num_classes: int) -> Detector:
    """Return a copy that tells ``num_classes`` other classes, untrained in that; what it knows of boxes stays.

    Raises:
        InputError: if ``num_classes`` is not allowed.
    """
    copied = copy.deepcopy(detector)
    copied.spec = replace(detector.spec, num_classes=num_classes)
    copied.head.reset(num_classes)
    return copied


def with_backbone(detector: Detector, backbone: Backbone) -> Detector:
    """Return a copy whose backbone has the weights of a trained one.

    Args:
        detector: any.
        backbone: a network of the row of the detector's backbone; classifier and ``drop_path`` may be others, and the
            stride of the stem if its weights are the same for both.

    Raises:
        InputError: if the rows differ otherwise.
    """
    wanted, own = detector.spec.backbone, backbone.spec
    given = replace(own, num_classes=wanted.num_classes, drop_path=wanted.drop_path, stem_stride=wanted.stem_stride)
    if given != wanted:
        raise InputError(f"backbone is {given}, but the detector's is {wanted}")
    copied = copy.deepcopy(detector)
    stem = backbone.stem.state_dict()
    if {name: x.shape for name, x in stem.items()} != {
        k: x.shape for k, x in copied.backbone.stem.state_dict().items()
    }:
        raise InputError(
            f"backbone has a stem for small images (stem_stride={own.stem_stride}), whose weights fit no other "
            f"(the detector's: {wanted.stem_stride}): ask for it on purpose, by a row with its stem_stride"
        )
    copied.backbone.stem.load_state_dict(stem)
    for ours, trained in zip(copied.backbone.stages, backbone.stages, strict=False):
        ours.load_state_dict(trained.state_dict())
    return copied
