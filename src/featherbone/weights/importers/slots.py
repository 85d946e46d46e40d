"""Layers of ours, and of a file: their names and the shapes of their tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from featherbone.data.names import printable
from featherbone.weights.importers.values import COUNTS

_STATISTICS = ("running_mean", "running_var")

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Slot:
    """One of our layers: its name, its kind, and the shapes of its tensors."""

    name: str
    part: nn.Module
    first: bool
    last: bool

    @property
    def shapes(self) -> Shapes:
        return {name: tuple(tensor.shape) for name, tensor in self.part.state_dict().items() if name != COUNTS}

    def __str__(self) -> str:
        kind = "norm" if isinstance(self.part, nn.BatchNorm2d) else "layer"
        return f"our {kind} {self.name} {_listed(self.shapes)}"


@dataclass(frozen=True)
class Layer:
    """A layer of the file."""

    name: str
    shapes: Shapes

    def __str__(self) -> str:
        return f"{printable(self.name)} {_listed(self.shapes)}"


def fits(slot: Slot, layer: Layer) -> bool:
    """Return whether a layer of the file can be ours; the first may read, and the last return, other channels."""
    ours, theirs = slot.shapes, dict(layer.shapes)
    if isinstance(slot.part, nn.BatchNorm2d):
        return theirs == ours
    if slot.last and isinstance(slot.part, nn.Linear):
        weight = theirs.pop("weight", ())
        bias = theirs.pop("bias", weight[:1])
        return (
            not theirs
            and weight[1:] in ((slot.part.in_features,), (slot.part.in_features, 1, 1))
            and (bias == weight[:1])
        )
    if "bias" not in ours and isinstance(slot.part, nn.Conv2d):
        theirs.pop("bias", None)  # a norm after it takes it up, or it is refused later
    if slot.first and len(theirs.get("weight", ())) == 4 and isinstance(slot.part, nn.Conv2d):
        theirs["weight"] = (theirs["weight"][0], ours["weight"][1], *theirs["weight"][2:])
    return theirs == ours


def _listed(shapes: Shapes) -> str:
    """Return the shapes of a layer, the weight's first."""
    if not shapes:
        return "()"
    kind = next(iter(shapes.values())) if "weight" not in shapes else shapes["weight"]
    lacking = [name for name in _STATISTICS if len(kind) == 1 and name not in shapes]
    return f"{kind}" + (f" without {' and '.join(lacking)}" if lacking else "")
