"""How an image becomes a network's input; stored with the weights, because weights without it are half a model."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from featherbone.errors import InputError, check_types

Fit = Literal["crop", "letterbox"]

# far from anything that is trained; beyond, one image takes gigabytes
_MOST_PIXELS = 8192
_LEAST_CROP = 0.05
_NORMALIZATION: Mapping[int, tuple[tuple[float, ...], tuple[float, ...]]] = {
    1: ((0.449,), (0.226,)),
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Make an image a square of ``size`` pixels, scale it to 0..1, normalize it.

    Attributes:
        size: side of the square input, in pixels.
        mean: per channel, in the range 0..1; one value for grey images, three for RGB.
        std: likewise.
        crop: share of the resized short side that the square covers (0.875 is the ImageNet custom, 1 cuts nothing off
            a square image).
        bgr: whether blue comes first, as where OpenCV read the images; ``mean`` and ``std`` are in that order too.
        fit: "crop" resizes the short side to ``size / crop`` and cuts out the centre; "letterbox" shows all of the
            image: its long side becomes ``size``, it lies at the top left, and the rest is grey (114 of 255).
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    bgr: bool = False
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: if one is out of range.
        """
        check_types(self)
        if not 1 <= self.size <= _MOST_PIXELS:
            raise InputError(f"size={self.size!r} is not allowed: a whole number of pixels, 1 to {_MOST_PIXELS:,}")
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean):
            raise InputError(
                f"mean={self.mean} and std={self.std} are not allowed: one value each (grey) or three (RGB)"
            )
        if self.fit not in get_args(Fit):
            raise InputError(f"fit={self.fit!r} is not allowed: {' or '.join(get_args(Fit))}")
        if self.fit == "letterbox" and self.crop != 1:
            raise InputError(f"crop={self.crop} is not allowed with fit='letterbox', which cuts nothing off: 1")
        if min(self.std) <= 0 or not _LEAST_CROP <= self.crop <= 1:
            raise InputError(
                f"std={self.std}, crop={self.crop} are not allowed: std above 0, crop from {_LEAST_CROP} to 1"
            )

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return len(self.mean)

    @classmethod
    def usual(cls, size: int, channels: int, *, crop: float = 1.0, fit: Fit = "crop") -> Preprocess:
        """Return the customary normalization: ImageNet's, for grey images averaged over its colours.

        Raises:
            InputError: if ``channels`` is neither 1 nor 3.
        """
        if channels not in _NORMALIZATION:
            raise InputError(f"channels={channels} is not allowed: images are grey (1) or RGB (3)")
        mean, std = _NORMALIZATION[channels]
        return cls(size=size, mean=mean, std=std, crop=crop, fit=fit)

    def resized(self, size: int) -> Preprocess:
        """Return the same preprocessing for another input size."""
        return replace(self, size=size)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Return what ``to_dict`` wrote.

        Raises:
            InputError: if a value is unknown, missing or out of range.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) - known or not {"size", "mean", "std"} <= set(values):
            raise InputError(
                f"preprocessing {reprlib.repr(values)} is not allowed: size, mean, std and perhaps crop, bgr, fit"
            )
        given: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}
        return cls(**given)
