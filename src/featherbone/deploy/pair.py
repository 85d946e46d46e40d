"""An OpenVINO model is two files, and OpenVINO finds the one by the other's name: they are replaced in steps."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

_PAGE = 4096


def replace_pair(made: Path, target: Path) -> None:
    """Put an ``.xml`` and the ``.bin`` beside it in the place of others, or of none.

    No two files can be renamed at once. But a description reads only the places in the weights that it names, and these
    can be chosen; so each of five renames leaves a whole model, the old one until the second and the new one from then
    on: the weights become the old and the new ones behind them; the description the new one, for the place behind; the
    weights the new ones, twice; the description the new one as it is; the weights the new ones as they are.

    Args:
        made: the new ``.xml``, on the same disk. Both new files are moved away.
        target: the ``.xml`` to replace.
    """
    weights, new_weights = target.with_suffix(".bin"), made.with_suffix(".bin")
    if not weights.exists():  # a description without weights is no model
        target.unlink(missing_ok=True)
    if target.exists():
        old, new = weights.read_bytes(), new_weights.read_bytes()
        behind = -(-max(len(old), len(new)) // _PAGE) * _PAGE
        steps = [made.with_name(name) for name in ("both.bin", "behind.xml", "twice.bin")]
        steps[0].write_bytes(old.ljust(behind, b"\0") + new)
        steps[1].write_bytes(_moved(made.read_bytes(), behind))
        steps[2].write_bytes(new.ljust(behind, b"\0") + new)
        for step, place in zip(steps, (weights, target, weights), strict=True):
            step.replace(place)
        made.replace(target)
        new_weights.replace(weights)
    else:
        new_weights.replace(weights)
        made.replace(target)


def _moved(description: bytes, by: int) -> bytes:
    """Return a description whose constants stand so many bytes further on in the weights."""
    root = ET.fromstring(description)  # noqa: S314 - ours
    for constant in root.iter("layer"):
        for place in constant.iter("data") if constant.get("type") == "Const" else ():
            place.set("offset", str(int(place.attrib["offset"]) + by))
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)
