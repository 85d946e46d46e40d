"""The only feature tap: the maps of a backbone at the wanted strides."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from featherbone.errors import InputError
from featherbone.spec import Backbone, Trunk


class Pyramid(Trunk):
    """Feature maps of a backbone; the parameters are the backbone's own, later stages and the head are left out.

    ``(B, in_chans, H, W)`` to a list of ``(B, channels[i], H / strides[i], W / strides[i])``.

    Index 0 is the stem and index i the i-th stage, in every family: with the published stems the strides of indices 0
    to 4 are 2, 4, 8, 16 and 32.

    Args:
        backbone: the network to tap.
        out_indices: which maps, in the order wanted; negative ones count from the last stage. ``None`` is all of them.

    Raises:
        InputError: if an index does not exist or is given twice.
    """

    def __init__(self, backbone: Backbone, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        count = len(backbone.channels)
        wanted = range(count) if out_indices is None else out_indices
        if not wanted or any(not -count <= i < count for i in wanted):
            raise InputError(f"out_indices={tuple(wanted)} is not allowed: {-count} to {count - 1}, at least one")
        self.out_indices = tuple(i % count for i in wanted)
        if len(set(self.out_indices)) != len(self.out_indices):
            raise InputError(f"out_indices={tuple(wanted)} names a map twice")
        self.spec = backbone.spec
        self.channels = tuple(backbone.channels[i] for i in self.out_indices)
        self.strides = tuple(backbone.strides[i] for i in self.out_indices)
        self.stem = backbone.stem
        self.stages = backbone.stages[: max(self.out_indices)]
        self.frozen = min(backbone.frozen, len(self.stages))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return [maps[i] for i in self.out_indices]
