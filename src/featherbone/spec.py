"""A network is a row of numbers (``Spec``) and an engine that reads it (``build``); the result is a ``Backbone``."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from featherbone.errors import InputError, check_type, check_types, is_whole, nearest, require, require_count
from featherbone.layers import (
    Crossed,
    Fusion,
    Head,
    bypass_channels,
    cross_stage,
    dilate,
    he_normal,
    stochastic_depth,
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Spec(ABC):
    """One row of a paper's table, validated when made. Change a column with ``dataclasses.replace``.

    Attributes:
        family: name of the family, as in stored rows.
        paper: its citation.
        published_size: side of the images, in pixels, with which the family's figures were published.
        num_classes: outputs of the classifier; 0 leaves it out and returns pooled features.
        in_chans: channels of the input image.
        stem_stride: how far the stem shrinks the image before the first stage: 4 as published for 224 pixels, 2 for
            images of about 64 pixels, 1 for about 32 and less.
        output_stride: 8, 16 or 32: stages that would shrink the image further are dilated instead. The weights fit
            either way.
        drop_path: probability of dropping the deepest path while training; it rises linearly from 0 at the first.
        partial_ratio: share of the channels that walk round the body of every stage (CSPNet's gamma); 0 for a plain
            network.
        fusion: with a ``partial_ratio``, where the transitions stand (CSPNet Fig. 3): after the body, before the two
            shares meet ("last"), after they met ("first"), or both.
    """

    family: ClassVar[str]
    paper: ClassVar[str]
    published_size: ClassVar[int] = 224
    num_classes: int = 1000
    in_chans: int = 3
    stem_stride: int = 4
    output_stride: int = 32
    drop_path: float = 0.0
    partial_ratio: float = 0.0
    fusion: Fusion = "both"

    def __post_init__(self) -> None:
        """Check every column.

        Raises:
            InputError: if a value is not allowed in its column.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # rows read from JSON
                object.__setattr__(self, field.name, tuple(value))
        check_types(self)
        self._require_count("num_classes", least=0)
        self._require_count("in_chans")
        self._require("stem_stride", self.stem_stride in (1, 2, 4), "1, 2 or 4")
        self._require("output_stride", self.output_stride in (8, 16, 32), "8, 16 or 32")
        self._require_share("drop_path")
        self._require_share("partial_ratio")
        self._require("fusion", self.fusion in ("both", "first", "last"), "both, first or last")
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Check the family's own columns."""

    @abstractmethod
    def assemble(self) -> Backbone:
        """Put the family's network together, strided and without dropping; ``build`` does the rest."""

    def initialize(self, network: Backbone) -> None:
        """Set the weights of a fresh network, in place, as the family's authors do."""
        he_normal(network)

    def build(self) -> Backbone:
        """Return the network of this row, freshly initialized."""
        network = self.assemble()
        rate = 1
        for i, stage in enumerate(network.stages, 1):
            if network.strides[i] > self.output_stride:
                rate = dilate(stage, rate)
        network.strides = tuple(min(stride, self.output_stride) for stride in network.strides)
        stochastic_depth(network, self.drop_path)
        return network

    def build_empty(self) -> Backbone:
        """Return the network with shapes and no values: PyTorch's "meta" device holds none."""
        with torch.device("meta"):
            return self.build()

    def cross_stage(
        self,
        c_in: int,
        c_out: int,
        body: Callable[[int], tuple[nn.Module, int]],
        transition: Callable[[int, int], nn.Module],
        *,
        closed: Callable[[int, int], nn.Module] | None = None,
        bypass: int | None = None,
        ways: tuple[nn.Module, nn.Module] | None = None,
        compression: float = 1.0,
    ) -> Crossed:
        """Return a stage's body with CSPNet's wiring round it (``layers.cross_stage``), or plain without a share.

        The arguments are that function's; ``bypass`` is by default ``partial_ratio`` of ``c_in``.

        Raises:
            InputError: if this share of the channels leaves none on one of the two ways.
        """
        if not self.partial_ratio:
            inner, c_body = body(c_in)
            return Crossed(nn.Sequential(inner), [], c_body)
        return cross_stage(
            *(c_in, c_out, body, transition),
            bypass=self._bypass(c_in) if bypass is None else bypass,
            partial_ratio=self.partial_ratio,
            fusion=self.fusion,
            closed=closed,
            ways=ways,
            compression=compression,
        )

    @property
    def network(self) -> str:
        """What kind of network it is: its family."""
        return self.family

    @property
    def usual_size(self) -> int:
        """Side of the images, in pixels, that the stem is meant for."""
        return {1: 32, 2: 64, 4: self.published_size}[self.stem_stride]

    def __repr__(self) -> str:
        """Show the paper's columns, and of the common ones those that differ from the published network."""
        common = {field.name: field.default for field in fields(Spec)}
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        shown = [f"{k}={v!r}" for k, v in row.items() if k not in common]
        shown += [f"{k}={v!r}" for k, v in row.items() if k in common and v != common[k]]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _strides(self, stages: int) -> tuple[int, ...]:
        """Return the strides of all maps, the stem's first: each stage after the first doubles ``stem_stride``."""
        return (min(self.stem_stride, 2), *(self.stem_stride * 2**i for i in range(stages)))

    def _bypass(self, channels: int, multiple: int = 1) -> int:
        """Return how many channels of a stage walk round its body; the body gets a multiple of ``multiple``."""
        return bypass_channels(channels, self.partial_ratio, multiple)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        require(name, getattr(self, name), holds, allowed)

    def _require_widths(self, name: str, count: int | None = None, least: int = 1) -> None:
        values = getattr(self, name)
        long_enough = isinstance(values, tuple) and (len(values) == count if count else len(values) > 0)
        wanted = f"{count} whole numbers" if count else "whole numbers"
        self._require(name, long_enough and all(is_whole(v, least) for v in values), f"{wanted}, each {least} or more")

    def _require_count(self, name: str, least: int = 1) -> None:
        require_count(name, getattr(self, name), least)

    def _require_share(self, name: str) -> None:
        self._require(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")


class Trunk(nn.Module):
    """Stem and stages, with the channels and strides of their maps declared. The first of them can be frozen.

    Whatever shrinks the image stands at the *start* of a stage, so the output of a stage is the last map at its stride.

    Attributes:
        spec: the row this network was built from.
        stem: what comes before the stages.
        stages: the stages in order.
        channels: channels of the declared maps.
        strides: their strides with respect to the input.
        frozen: how many stages neither learn nor update their norms, the stem being one more; -1 for none at all.
    """

    spec: Spec
    stem: nn.Module
    stages: nn.ModuleList
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    frozen = -1

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; what is frozen stays in evaluation, as its statistics must not move."""
        super().train(mode)
        for part in self.frozen_parts():
            part.eval()
        return self

    def frozen_parts(self) -> list[nn.Module]:
        """Return the stem and stages that are frozen."""
        return [self.stem, *self.stages][: self.frozen + 1]

    def __prepare_scriptable__(self) -> Self:
        """Tell ``torch.jit.script``, which asks for this, that it cannot read the wirings.

        Raises:
            InputError: always.
        """
        raise InputError(
            "torch.jit.script cannot read these networks: their wirings choose at run time what is computed again. "
            "torch.jit.trace(model, images) records one; fb.export(model, 'model.onnx') or .pt2 writes it for an engine"
        )


TrunkT = TypeVar("TrunkT", bound=Trunk)


def freeze(model: TrunkT, stages: int | str | Sequence[str]) -> TrunkT:
    """Return a copy whose stem and first stages keep their weights and statistics; the rest trains as before.

    Args:
        model: a network or a pyramid of feature maps.
        stages: how many stages; 0 freezes the stem alone. Or their names, as a recipe's column ``freeze`` has them:
            "stem", or ("stem", "stages.0") and so on.

    Raises:
        InputError: if there are not so many stages, or the names are not those of the stem and the first stages.
    """
    check_type("model", model, Trunk, "a network or a pyramid of feature maps; a detector is frozen by its recipe")
    if not isinstance(stages, int):
        names = ["stem", *(f"stages.{number}" for number in range(len(model.stages)))]
        given = [stages] if isinstance(stages, str) else list(stages) if isinstance(stages, Iterable) else []
        if not given or any(name not in given for name in names[: len(given)]):
            raise InputError(f"stages={stages!r:.80} is not allowed: a number, or the first of {', '.join(names)}")
        stages = len(given) - 1
    if isinstance(stages, bool) or not 0 <= stages <= len(model.stages):
        raise InputError(f"stages={stages} is not allowed: 0 (the stem alone) to {len(model.stages)}")
    copied = copy.deepcopy(model)
    copied.frozen = stages
    for part in copied.frozen_parts():
        part.requires_grad_(requires_grad=False)
    return copied.train(model.training)


class Backbone(Trunk):
    """Stem, stages and head of an image classifier.

    ``(B, in_chans, H, W)`` to ``(B, num_classes)``; ``channels`` and ``strides`` are those of the stem's output and of
    every stage's.
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
        spec.initialize(self)

    def check_size(self, size: int) -> None:
        """Refuse square inputs that the network cannot read.

        Args:
            size: their side, in pixels.

        Raises:
            InputError: if it is smaller than the network's last stride.
        """
        if size < self.strides[-1]:
            raise InputError(f"size={size} is too small for this network: {self.strides[-1]} pixels or more")

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last stage's map, ``(B, C, H / stride, W / stride)``."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x))


def reset_head(model: Backbone, num_classes: int) -> Backbone:
    """Return a copy with a new, untrained classifier of ``num_classes`` outputs (0 for pooled features).

    Raises:
        InputError: if ``num_classes`` is not allowed.
    """
    check_type("model", model, Backbone, "a classifier; reset_classes does it to a detector")
    copied = copy.deepcopy(model)
    copied.spec = replace(model.spec, num_classes=num_classes)
    for part in copied.head.modules():
        if isinstance(part, Head):
            part.reset(num_classes, next(model.parameters()))
    return copied


def spec_to_dict(spec: Spec) -> dict[str, Any]:
    """Return the row as plain JSON values, with its family's name."""
    return {"family": spec.family, **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(spec).items()}}


def spec_from_dict(row: Mapping[str, Any], families: Mapping[str, type[Spec]]) -> Spec:
    """Return the spec that ``spec_to_dict`` wrote.

    Raises:
        InputError: if the family or a column is unknown, missing or out of range.
    """
    if not isinstance(row, Mapping):
        raise InputError(f"incomplete row: {type(row).__name__} holds no columns")
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
