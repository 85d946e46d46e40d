"""A detector is a row, too: a backbone's row, a neck's row and a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from featherbone.detect.anchors import Anchors
from featherbone.detect.necks import NeckSpec
from featherbone.errors import InputError, nearest
from featherbone.spec import Spec, spec_to_dict

if TYPE_CHECKING:
    from featherbone.detect.detector import Detector

Kind = Literal["anchors", "free"]


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
    head: Kind
    num_classes: int
    anchors: Anchors = ()

    def __post_init__(self) -> None:
        """Check every column.

        Raises:
            InputError: if a value is not allowed in its column.
        """
        object.__setattr__(self, "backbone", replace(self.backbone, num_classes=0))
        whole = isinstance(self.num_classes, int) and not isinstance(self.num_classes, bool)
        self._require("num_classes", whole and self.num_classes >= 1, "a whole number, 1 or more")
        self._require("head", self.head in ("anchors", "free"), "anchors or free")
        object.__setattr__(self, "anchors", _nested(self.anchors))
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
    def in_chans(self) -> int:
        """Channels of the input image."""
        return self.backbone.in_chans

    def build(self) -> Detector:
        """Return the detector of this row, freshly initialised.

        Raises:
            InputError: if the neck cannot read this backbone's maps.
        """
        from featherbone.detect.detector import assemble

        return assemble(self)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise InputError(f"{name}={getattr(self, name)!r} is not allowed in a detector: {allowed}")


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
    except (TypeError, ValueError) as error:
        raise InputError(f"anchors={anchors!r} is not allowed in a detector: widths and heights by scale") from error
