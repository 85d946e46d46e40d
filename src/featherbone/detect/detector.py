"""Detectors: a row of a backbone's row, a neck's row and a head; the network it builds; what is done to a whole one."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from featherbone.detect.anchors import Anchors
from featherbone.detect.heads import AnchoredHead, BoxHead, FreeHead
from featherbone.detect.necks import Neck, NeckSpec, build_neck
from featherbone.errors import InputError, check_type, check_types, nearest
from featherbone.pyramid import Pyramid
from featherbone.spec import Backbone, Spec, spec_to_dict

HeadKind = Literal["anchors", "free"]


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """One detector, validated when made. Change a column with ``dataclasses.replace``.

    Attributes:
        family: as in stored rows.
        usual_size: side of the images in pixels that CSPNet's detectors are published for.
        backbone: row of the network whose last maps are read; its classifier is left out.
        neck: how the maps are fused; it says how many scales there are.
        head: boxes relative to "anchors" (YOLOv3's), or "free" of them.
        num_classes: kinds of objects.
        anchors: for every scale, fine to coarse, as many widths and heights in pixels of the input; none if free.
    """

    family: ClassVar[str] = "detector"
    usual_size: ClassVar[int] = 416
    backbone: Spec
    neck: NeckSpec
    head: HeadKind
    num_classes: int
    anchors: Anchors = ()

    def __post_init__(self) -> None:
        """Check every column.

        Raises:
            InputError: if a value is not allowed in its column.
        """
        object.__setattr__(self, "anchors", _nested(self.anchors))
        check_types(self, " in a detector")
        object.__setattr__(self, "backbone", replace(self.backbone, num_classes=0))
        self._require("num_classes", self.num_classes >= 1, "a whole number, 1 or more")
        self._require("head", self.head in ("anchors", "free"), "anchors or free")
        if self.head == "free":
            self._require("anchors", not self.anchors, "none, for a free head")
            return
        scales = len(self.neck.widths)
        allowed = f"for each of the {scales} scales as many widths and heights above 0"
        counts = {len(scale) for scale in self.anchors}
        sides = [side for scale in self.anchors for shape in scale for side in shape]
        fits = len(self.anchors) == scales and len(counts) == 1 and 0 not in counts
        self._require("anchors", fits and all(side > 0 for side in sides), allowed)

    @property
    def network(self) -> str:
        """What kind of network it is: the family of its backbone."""
        return self.backbone.family

    @property
    def in_chans(self) -> int:
        """Channels of the input image."""
        return self.backbone.in_chans

    def build(self) -> Detector:
        """Return the detector of this row, freshly initialized.

        Raises:
            InputError: if the neck cannot read this backbone's maps.
        """
        network = self.backbone.build()
        count, wanted = len(network.channels), self.neck.maps
        if wanted > count:
            raise InputError(f"neck={self.neck.kind!r} needs {wanted} maps, but the backbone has {count}")
        backbone = Pyramid(network, range(count - wanted, count))
        neck = build_neck(self.neck, backbone.channels, backbone.strides)
        if self.head == "anchors":
            head: BoxHead = AnchoredHead(neck.channels, neck.strides, self.num_classes, self.anchors)
        else:
            head = FreeHead(neck.channels, neck.strides, self.num_classes)
        return Detector(self, backbone, neck, head)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise InputError(f"{name}={getattr(self, name)!r} is not allowed in a detector: {allowed}")


class Detector(nn.Module):
    """Images ``(B, in_chans, H, W)`` to boxes and their classes' probabilities, ``(B, N, 4 + num_classes)``.

    Boxes are x1, y1, x2, y2 in pixels of the input and may stick out of it; probabilities are 0 to 1 for every class.
    ``featherbone.detect.postprocess`` makes a list of objects of them.

    Attributes:
        spec: the row this detector was built from.
        backbone: gives the maps.
        neck: fuses them.
        head: predicts; its ``decode`` makes boxes of what ``raw`` returns.
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
        return max(self.backbone.strides)

    def check_size(self, size: int) -> None:
        """Refuse square inputs that the network cannot read.

        Args:
            size: their side, in pixels.

        Raises:
            InputError: if it is no multiple of the largest stride.
        """
        if size % self.multiple:
            raise InputError(f"size={size} is not allowed for this detector: a multiple of {self.multiple} pixels")

    def raw(self, x: Tensor) -> list[Tensor]:
        """Return the raw predictions of every scale, fine to coarse, ``(B, cells, outputs)``, for the losses.

        Raises:
            InputError: if a side is not a multiple of the largest stride.
        """
        if not torch.compiler.is_compiling():
            self._check(x.shape)
        return self.head(self.neck(self.backbone(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head.predict(self.raw(x), (x.shape[2], x.shape[3]))

    def _check(self, shape: Sequence[int]) -> None:
        height, width = shape[2:]
        if min(height, width) < 1 or height % self.multiple or width % self.multiple:
            raise InputError(
                f"an input of {height} x {width} pixels is not allowed: both sides are multiples of {self.multiple}"
            )


def reset_classes(detector: Detector, num_classes: int) -> Detector:
    """Return a copy that tells ``num_classes`` other classes, untrained in that; what it knows of boxes stays.

    Raises:
        InputError: if ``num_classes`` is not allowed.
    """
    check_type("detector", detector, Detector, "a detector; reset_head does it to a classifier")
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
    check_type("detector", detector, Detector, "a detector")
    check_type("backbone", backbone, Backbone, "a classifier, such as load gives of its file")
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


def detector_to_dict(spec: DetectorSpec) -> dict[str, Any]:
    """Return the row as plain JSON values, with its family's name."""
    return {
        "family": spec.family,
        "backbone": spec_to_dict(spec.backbone),
        "neck": spec.neck.to_dict(),
        "head": spec.head,
        "num_classes": spec.num_classes,
        "anchors": [[list(shape) for shape in scale] for scale in spec.anchors],
    }


def detector_from_dict(row: Mapping[str, Any], read_spec: Callable[[Mapping[str, Any]], Spec]) -> DetectorSpec:
    """Return the spec that ``detector_to_dict`` wrote.

    Args:
        row: plain values.
        read_spec: returns the spec of a backbone's row.

    Raises:
        InputError: if the family or a column is unknown, missing or out of range.
    """
    if not isinstance(row, Mapping):
        raise InputError(f"incomplete row: {type(row).__name__} holds no columns")
    columns = dict(row)
    family = columns.pop("family", "")
    if family != DetectorSpec.family:
        raise InputError(f"family {family!r} is not allowed: {DetectorSpec.family}")
    known = [field.name for field in fields(DetectorSpec)]
    for name in columns:
        if name not in known:
            raise InputError(
                f"column {name!r} is unknown for a detector{nearest(name, known)}: one of {', '.join(known)}"
            )
    try:
        backbone, neck = read_spec(columns.pop("backbone")), NeckSpec.from_dict(columns.pop("neck"))
        return DetectorSpec(backbone=backbone, neck=neck, **columns)
    except (TypeError, KeyError) as error:
        raise InputError(f"incomplete row for a detector: {error}") from error


def _nested(anchors: Any) -> Anchors:
    """Return anchors, whatever they are nested in, as tuples of floats.

    Raises:
        InputError: if they are no widths and heights.
    """
    try:
        return tuple(tuple((float(w), float(h)) for w, h in scale) for scale in anchors)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"anchors={reprlib.repr(anchors)} is not allowed in a detector: widths and heights by scale"
        ) from error
