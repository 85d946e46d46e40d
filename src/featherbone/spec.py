"""A network is a row of numbers (``Spec``) and an engine that reads it (``build``); the result is a ``Backbone``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from torch import Tensor, nn

from featherbone.errors import InputError, nearest
from featherbone.layers import initialise


@dataclass(frozen=True, kw_only=True, repr=False)
class Spec(ABC):
    """One row of a paper's table, validated when made. Change a column with ``dataclasses.replace``.

    Attributes:
        num_classes: outputs of the classifier; 0 leaves it out and returns pooled features.
        in_chans: channels of the input image.
        stem_stride: how far the stem shrinks the image before the first stage: 4 as published for 224 pixels, 2 for
            images of about 64 pixels, 1 for about 32 and less.
    """

    family: ClassVar[str]
    paper: ClassVar[str]
    num_classes: int = 1000
    in_chans: int = 3
    stem_stride: int = 4

    def __post_init__(self) -> None:
        """Check every column.

        Raises:
            InputError: if a value is not allowed in its column.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # rows read from JSON
                object.__setattr__(self, field.name, tuple(value))
        self._require_count("num_classes", least=0)
        self._require_count("in_chans")
        self._require("stem_stride", self.stem_stride in (1, 2, 4), "1, 2 or 4")
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Check the family's own columns."""

    @abstractmethod
    def build(self) -> Backbone:
        """Return the network of this row, freshly initialised."""

    @property
    def usual_size(self) -> int:
        """Side of the images, in pixels, that the stem is meant for."""
        return {1: 32, 2: 64, 4: 224}[self.stem_stride]

    def __repr__(self) -> str:
        """Show the paper's columns, and of the common ones those that differ from the published network."""
        common = {field.name: field.default for field in fields(Spec)}
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        shown = [f"{k}={v!r}" for k, v in row.items() if k not in common]
        shown += [f"{k}={v!r}" for k, v in row.items() if k in common and v != common[k]]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise InputError(f"{name}={getattr(self, name)!r} is not allowed: {allowed}")

    def _require_widths(self, name: str, count: int | None = None, least: int = 1) -> None:
        values = getattr(self, name)
        long_enough = isinstance(values, tuple) and (len(values) == count if count else len(values) > 0)
        wanted = f"{count} whole numbers" if count else "whole numbers"
        self._require(name, long_enough and all(_is_int(v, least) for v in values), f"{wanted}, each {least} or more")

    def _require_count(self, name: str, least: int = 1) -> None:
        self._require(name, _is_int(getattr(self, name), least), f"a whole number, {least} or more")

    def _require_share(self, name: str) -> None:
        self._require(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")


class Backbone(nn.Module):
    """Stem, stages and head of an image classifier, with the channels and strides of every feature map declared.

    ``(B, in_chans, H, W)`` to ``(B, num_classes)``. Whatever shrinks the image stands at the *start* of a stage, so the
    output of a stage is the last map at its stride.

    Attributes:
        spec: the row this network was built from.
        channels: channels of the stem's output and of each stage's output.
        strides: their strides with respect to the input.
    """

    def __init__(
        self,
        spec: Spec,
        stem: nn.Module,
        stages: Iterable[nn.Module],
        head: nn.Module,
        *,
        channels: Iterable[int],
        strides: Iterable[int],
    ) -> None:
        super().__init__()
        self.spec = spec
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.head = head
        initialise(self)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last stage's map, ``(B, C, H / stride, W / stride)``."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x))


def spec_to_dict(spec: Spec) -> dict[str, Any]:
    """Return the row as plain JSON values, with its family's name."""
    return {"family": spec.family, **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(spec).items()}}


def spec_from_dict(row: Mapping[str, Any], families: Mapping[str, type[Spec]]) -> Spec:
    """Return the spec that ``spec_to_dict`` wrote.

    Raises:
        InputError: if the family or a column is unknown, missing or out of range.
    """
    columns = dict(row)
    family = str(columns.pop("family", ""))
    if family not in families:
        raise InputError(f"family {family!r} is unknown{nearest(family, families)}: one of {', '.join(families)}")
    known = [field.name for field in fields(families[family])]
    for name in columns:
        if name not in known:
            raise InputError(
                f"column {name!r} is unknown for {family}{nearest(name, known)}: one of {', '.join(known)}"
            )
    try:
        return families[family](**columns)
    except TypeError as error:
        raise InputError(f"incomplete row for {family}: {error}") from error


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
