"""What people call a network, and how they ask for it on the command line."""

from __future__ import annotations

from dataclasses import replace

from featherbone.detect.detector import DetectorSpec
from featherbone.detect.necks import NECKS
from featherbone.models import list_models, spec
from featherbone.spec import Spec


def network_name(row: Spec) -> str | None:
    """Return the name of a network, whatever its classes, channels and stem; ``None`` for a row that has none."""
    for name in list_models():
        named = spec(name)
        if type(named) is not type(row) or row.stem_stride > named.stem_stride:
            continue
        if replace(named, num_classes=row.num_classes, in_chans=row.in_chans, stem_stride=row.stem_stride) == row:
            return name
    return None


def classifier_name(row: Spec) -> str:
    """Return the name of a network, or that of its family."""
    return network_name(row) or row.family


def detector_name(row: DetectorSpec) -> str:
    """Return the names of a detector's backbone, neck and head."""
    return f"{classifier_name(row.backbone)} · {_neck_name(row) or row.neck.kind} · {row.head}"


def classifier_options(row: Spec) -> list[str] | None:
    """Return the options that ask for a network that starts from nothing; ``None`` if it has no name."""
    name = network_name(row)
    return ["--model", name] if name else None


def detector_options(row: DetectorSpec) -> list[str] | None:
    """Return the options that ask for a detector that starts from nothing; ``None`` if it has no name."""
    name, neck = network_name(row.backbone), _neck_name(row)
    # a detector's stem is never fitted to the images
    if name is None or neck is None or row.backbone.stem_stride != spec(name).stem_stride:
        return None
    return ["--model", name, "--neck", neck, "--head", row.head]


def _neck_name(row: DetectorSpec) -> str | None:
    return next((name for name, neck in NECKS.items() if neck == row.neck), None)
