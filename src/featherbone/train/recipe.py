"""A recipe: everything that determines a run, as one frozen row that is saved with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from featherbone.errors import InputError, nearest


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that determines a run; with the same recipe, data and machine it gives the same weights.

    The first five are filled in when a run starts, from its arguments, its data and a short measurement.

    Attributes:
        model: the network's row (``spec_to_dict``).
        data: ``digits`` or a folder.
        size: side of the input, in pixels.
        precision: "f32", "bf16" (autocast), or "auto": the faster one here, measured.
        channels_last: memory order of the images; ``None``: the faster one here, measured.
        epochs: passes over the training images.
        batch_size: images per step.
        lr: highest learning rate; it rises linearly from zero and falls along a cosine to zero.
        warmup: share of the steps in which it rises.
        weight_decay: L2 penalty of SGD, on everything but norms and biases.
        momentum: Nesterov momentum.
        label_smoothing: probability taken from the true class and spread over all.
        crop_min: smallest share of the area that a random crop keeps; 1 for none.
        flip: probability of mirroring left to right.
        rotation: largest random rotation, in degrees either way.
        translate: largest random shift, as a share of the side.
        erase: probability of erasing a random rectangle.
        crop: share of the resized short side that the centre crop covers in evaluation.
        val_fraction: share of a single folder that is held out.
        workers: processes that decode images beside the one that trains.
        seed: decides weights, split, order and augmentation.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    size: int = 0
    precision: str = "auto"
    channels_last: bool | None = None
    epochs: int = 30
    batch_size: int = 64
    lr: float = 0.1
    warmup: float = 0.15
    weight_decay: float = 5e-4
    momentum: float = 0.9
    label_smoothing: float = 0.1
    crop_min: float = 1.0
    flip: float = 0.0
    rotation: float = 0.0
    translate: float = 0.0
    erase: float = 0.0
    crop: float = 1.0
    val_fraction: float = 0.2
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: if one is out of range.
        """
        for name in ("epochs", "batch_size"):
            self._require(
                name, isinstance(getattr(self, name), int) and getattr(self, name) > 0, "a whole number above 0"
            )
        for name in ("size", "workers", "seed"):
            self._require(
                name, isinstance(getattr(self, name), int) and getattr(self, name) >= 0, "a whole number, 0 or more"
            )
        for name in ("weight_decay", "rotation"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("momentum", "label_smoothing", "warmup", "translate"):
            self._require(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        for name in ("flip", "erase"):
            self._require(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        for name in ("crop_min", "crop"):
            self._require(name, 0 < getattr(self, name) <= 1, "above 0, at most 1")
        self._require("lr", self.lr > 0, "above 0")
        self._require("val_fraction", 0 < self.val_fraction < 1, "above 0, below 1")
        self._require("precision", self.precision in ("auto", "f32", "bf16"), "auto, f32 or bf16")

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise InputError(f"{name}={getattr(self, name)!r} is not allowed: {allowed}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Return what ``to_dict`` wrote.

        Raises:
            InputError: if a column is unknown or out of range.
        """
        return cls().changed(values)

    def changed(self, values: Mapping[str, Any]) -> Recipe:
        """Return this recipe with some columns changed.

        Raises:
            InputError: if a column is unknown or out of range.
        """
        known = [f.name for f in fields(self)]
        for name in values:
            if name not in known:
                raise InputError(f"recipe column {name!r} is unknown{nearest(name, known)}: one of {', '.join(known)}")
        return replace(self, **values)


DIGITS = Recipe(epochs=40, rotation=12.0, translate=0.08)
SMALL_IMAGES = Recipe(epochs=30, crop_min=0.5, flip=0.5, workers=1)
PHOTOS = Recipe(epochs=30, batch_size=32, lr=0.05, crop_min=0.25, flip=0.5, crop=0.875, workers=1)


def recipe_for(data: str, size: int) -> Recipe:
    """Return the recipe we would start with for this data at this input size (pixels)."""
    if data == "digits":
        return DIGITS
    return SMALL_IMAGES if size <= 64 else PHOTOS
