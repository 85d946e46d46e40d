"""What can be wrong with a box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featherbone.data.dataset import Skipped

# why a box is left out
LEFT_OUT = {
    "numbers": "without four finite numbers",
    "class": "of an unknown class",
    "empty": "without an area inside the image",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a box of an image.

    Attributes:
        kind: "numbers", "class" or "empty" (which are left out), "outside" (cut off at the edge), "twice" or
            "two-classes" (in the same place as another).
        box: its place among the boxes that are annotated on the image, from 1.
        corners: as annotated, x1 y1 x2 y2 in pixels of the upright image.
    """

    kind: str
    box: int
    corners: tuple[float, float, float, float]


def corners(box: np.ndarray) -> tuple[float, float, float, float]:
    """Return a box as plain numbers."""
    x1, y1, x2, y2 = map(float, box)
    return x1, y1, x2, y2


def left_out(path: str, faults: Sequence[Fault]) -> Skipped | None:
    """Return how many boxes of an image are left out, and why; nothing if all are kept."""
    counts = Counter(fault.kind for fault in faults if fault.kind in LEFT_OUT)
    reasons = ", ".join(f"{count} {LEFT_OUT[kind]}" for kind, count in counts.items())
    return Skipped(f"{path} (boxes)", reasons) if counts else None
