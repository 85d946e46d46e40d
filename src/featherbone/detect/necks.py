"""Necks: the maps of a backbone, fused for a head. FPN, PAN, PRN, CEM, GFM and EFM are rows of one engine.

A neck is the wiring *between* scales. They differ in which maps a scale reads (CSPNet, arXiv 1911.11929, Fig. 6 and
Table 2), in whether these are concatenated or added (PRN: Wang et al., ICCV Workshops 2019; CEM: ThunderNet, arXiv
1903.11752, sec. 3.3), and in whether a path from fine to coarse follows (PANet, arXiv 1803.01534). What CSPNet leaves
open, and what was chosen here, is in docs/decisions/0010-necks.md.

>>> neck = build_neck(neck_spec("efm"), channels=(128, 256, 512, 704), strides=(4, 8, 16, 32))
>>> neck.channels, neck.strides
((64, 128, 256), (8, 16, 32))
>>> import torch
>>> maps = [torch.zeros(1, c, 64 // s, 64 // s) for c, s in zip((128, 256, 512, 704), (4, 8, 16, 32))]
>>> [tuple(fused.shape) for fused in neck(maps)]
[(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal, Self

from torch import Tensor, nn
from torch.nn import functional as F

from featherbone.errors import InputError, check_type, check_types, is_whole, nearest
from featherbone.layers import Attention, First, Maxout, concat, conv, he_normal, pools

NeckKind = Literal["fpn", "pan", "prn", "cem", "gfm", "efm"]


@dataclass(frozen=True)
class _Wiring:
    """What a scale reads beside its own map of the backbone.

    Attributes:
        finer: how many of the next finer maps.
        coarser: how many of the next coarser maps.
        top_down: whether it reads what the next coarser scale has fused.
        bottom_up: whether afterwards every scale adds what the next finer one gives out.
        extra: maps below the finest scale that it reads too.
        above: maps above the coarsest scale that it reads too.
        added: whether what it reads is added, instead of concatenated and put through a 1x1 convolution.
        partial: whether scales but the coarsest take the first channels of their maps as they are (partial residual),
            as many as there are.
        context: whether it reads the mean of the coarsest map over all positions, too.
    """

    finer: int = 0
    coarser: int = 0
    top_down: bool = True
    bottom_up: bool = False
    extra: int = 0
    above: int = 0
    added: bool = False
    partial: bool = False
    context: bool = False


_WIRINGS: Mapping[str, _Wiring] = {
    "fpn": _Wiring(),
    "pan": _Wiring(bottom_up=True),
    "prn": _Wiring(added=True, partial=True),
    "cem": _Wiring(coarser=1, top_down=False, above=1, added=True, context=True),
    "gfm": _Wiring(finer=sys.maxsize, coarser=sys.maxsize, top_down=False),
    "efm": _Wiring(finer=1, bottom_up=True, extra=1),
}


@dataclass(frozen=True, kw_only=True)
class NeckSpec:
    """One row: a neck before it knows its backbone, validated when made.

    Attributes:
        kind: which scales are fused. "fpn": a scale's own map and the fused coarser one. "pan": the same, then from
            fine to coarse. "prn" (partial residual): the first channels of its own map plus the fused coarser one.
            "cem" (context enhancement): its own map plus the next coarser one plus the mean of the coarsest; there is
            a coarser map than the scales give out. "gfm" (global fusion): all maps. "efm" (exact fusion): the next
            finer map, its own and the fused coarser one, then from fine to coarse.
        widths: channels of every scale, fine to coarse; there are as many scales.
        maxout: pieces of the Maxout that compresses every map before it meets others; 1 is a plain convolution.
        sam: whether every value of a fused map is weighed by attention to what it was fused from.
        spp: whether the coarsest map is read through pools of 5, 9 and 13 pixels.
    """

    kind: NeckKind
    widths: tuple[int, ...] = (64, 128, 256)
    maxout: int = 2
    sam: bool = False
    spp: bool = False

    def __post_init__(self) -> None:
        """Check every column.

        Raises:
            InputError: if a value is not allowed in its column.
        """
        widths: object = self.widths
        if isinstance(widths, list):  # rows read from JSON
            object.__setattr__(self, "widths", tuple(widths))
        check_types(self, " in a neck")
        self._require("kind", self.kind in _WIRINGS, f"one of {', '.join(_WIRINGS)}")
        self._require("widths", min(self.widths, default=0) >= 1, "whole numbers, each 1 or more")
        if _WIRINGS[self.kind].context:
            self._require("widths", len(set(self.widths)) == 1, f"all the same in {self.kind}, which adds its maps")
        self._require("maxout", self.maxout >= 1, "a whole number, 1 or more")

    @property
    def finer(self) -> int:
        """How many maps it needs that are finer than the finest it gives out."""
        return _WIRINGS[self.kind].extra

    @property
    def coarser(self) -> int:
        """How many maps it needs that are coarser than the coarsest it gives out."""
        return _WIRINGS[self.kind].above

    @property
    def maps(self) -> int:
        """How many maps of the backbone it needs."""
        return self.finer + len(self.widths) + self.coarser

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        return {**asdict(self), "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Return the row that ``to_dict`` wrote.

        Raises:
            InputError: if a column is unknown, missing or out of range.
        """
        if not isinstance(row, Mapping):
            raise InputError(f"incomplete row for a neck: {type(row).__name__} holds no columns")
        known = [field.name for field in fields(cls)]
        for name in row:
            if name not in known:
                raise InputError(
                    f"column {name!r} is unknown for a neck{nearest(name, known)}: one of {', '.join(known)}"
                )
        if "kind" not in row:
            raise InputError("incomplete row for a neck: it lacks the column 'kind'")
        return cls(**row)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise InputError(f"{name}={getattr(self, name)!r} is not allowed in a neck: {allowed}")


class Neck(nn.Module):
    """Fused maps; made by ``build_neck``.

    Maps ``(B, C, H, W)``, fine to coarse, each half as high and wide as the one before, to ``(B, channels[i], H, W)``
    for all of them but the first ``spec.finer`` and the last ``spec.coarser``.

    Attributes:
        spec: the row this neck was built from.
        channels: channels of the maps it gives out.
        strides: their strides with respect to the image.
    """

    def __init__(self, spec: NeckSpec, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.spec = spec
        self.channels = spec.widths
        self.strides = tuple(strides[spec.finer : spec.finer + len(spec.widths)])
        self.wiring = _WIRINGS[spec.kind]
        # a map below the finest scale is large: half of that scale's width
        below, above = [max(spec.widths[0] // 2, 1)] * spec.finer, [spec.widths[-1]] * spec.coarser
        widths = (*below, *spec.widths, *above)
        compress: list[nn.Module] = [_compressed(c, w, spec.maxout) for c, w in zip(channels, widths, strict=True)]
        if self.wiring.partial:
            compress[:-1] = [First(width) for width in widths[:-1]]
        if spec.spp:
            compress[-1] = _pooled(channels[-1], widths[-1], spec.maxout)
        self.compress = nn.ModuleList(compress)
        self.context = _context(channels[-1], spec.widths) if self.wiring.context else None
        # what a scale adds of the coarser one has as many channels as its own map
        self.narrow = nn.ModuleList(conv(c, w) for w, c in pairwise(spec.widths)) if self.wiring.partial else None
        self.reads = [self._span(i, len(widths)) for i in range(spec.finer, spec.finer + len(spec.widths))]
        coarser = [w if self.wiring.top_down else 0 for w in (*spec.widths[1:], 0)]
        c_read = [sum(widths[i] for i in reads) + c for reads, c in zip(self.reads, coarser, strict=True)]
        pairs = zip(spec.widths if self.wiring.added else c_read, spec.widths, strict=True)
        self.fuse = nn.ModuleList(_fused(c, w, sam=spec.sam, added=self.wiring.added) for c, w in pairs)
        steps = pairwise(spec.widths) if self.wiring.bottom_up else ()
        self.down = nn.ModuleList(conv(c, w, 3, stride=2) for c, w in steps)
        he_normal(self)

    def _span(self, own: int, count: int) -> range:
        return range(max(own - self.wiring.finer, 0), min(own + self.wiring.coarser, count - 1) + 1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        compressed = [compress(x) for compress, x in zip(self.compress, maps, strict=True)]
        fused: list[Tensor] = []
        for scale in reversed(range(len(self.reads))):
            own = scale + self.spec.finer
            read = [_resized(compressed[i], i - own) for i in self.reads[scale]]
            if self.wiring.top_down and fused:
                read.append(_resized(self.narrow[scale](fused[0]) if self.narrow is not None else fused[0], 1))
            if self.context is not None:
                read.append(self.context[scale](maps[-1]))
            fused.insert(0, self.fuse[scale](sum(read[1:], read[0]) if self.wiring.added else concat(read)))
        for i, down in enumerate(self.down):
            fused[i + 1] = fused[i + 1] + down(fused[i])
        return fused


def build_neck(spec: NeckSpec, channels: Sequence[int], strides: Sequence[int]) -> Neck:
    """Return the neck of a row for a backbone's maps, freshly initialized.

    Args:
        spec: the row.
        channels: channels of the maps it will be given, fine to coarse, ``spec.maps`` of them.
        strides: their strides with respect to the image; each is twice the one before.

    Raises:
        InputError: if the maps are not what the neck needs.
    """
    check_type("spec", spec, NeckSpec, "the row of a neck, such as neck_spec gives of its name")
    wanted = spec.maps
    if len(channels) != wanted or not all(is_whole(c, 1) for c in channels):
        raise InputError(f"channels={tuple(channels)} is not allowed: {spec.kind} needs those of {wanted} maps")
    doubling = all(is_whole(s, 1) for s in strides) and all(2 * a == b for a, b in pairwise(strides))
    if len(strides) != wanted or not doubling:
        raise InputError(
            f"strides={tuple(strides)} is not allowed: {spec.kind} needs {wanted}, each twice the one before"
        )
    return Neck(spec, channels, strides)


def _compressed(c_in: int, width: int, pieces: int) -> nn.Sequential:
    return nn.Sequential(conv(c_in, pieces * width), *([Maxout(pieces)] if pieces > 1 else []))


def _pooled(c_in: int, width: int, pieces: int) -> nn.Sequential:
    half = max(width // 2, 1)
    return nn.Sequential(conv(c_in, half), pools(), _compressed(4 * half, width, pieces))


def _fused(c_in: int, width: int, *, sam: bool, added: bool) -> nn.Module:
    whole = nn.Identity() if added else conv(c_in, width)
    return Attention(whole, conv(c_in, width, act=nn.Sigmoid)) if sam else whole


def _context(c_in: int, widths: Sequence[int]) -> nn.ModuleList:
    # one point an image: no norm, which could not learn from one
    return nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c_in, width, 1)) for width in widths)


def _resized(x: Tensor, steps: int) -> Tensor:
    """Return a map that is ``steps`` scales coarser than its reader, or finer if negative, at the reader's size."""
    if steps > 0:
        return F.interpolate(x, scale_factor=float(2**steps), mode="nearest")
    return F.max_pool2d(x, 2**-steps) if steps else x


NECKS: Mapping[str, NeckSpec] = {
    "fpn": NeckSpec(kind="fpn"),
    "pan": NeckSpec(kind="pan"),
    "prn": NeckSpec(kind="prn", widths=(128, 256), maxout=1),
    "prn_3l": NeckSpec(kind="prn", widths=(128, 128, 256), maxout=1),
    "cem": NeckSpec(kind="cem", widths=(245,), maxout=1),
    "gfm": NeckSpec(kind="gfm"),
    "efm": NeckSpec(kind="efm"),
    "efm_sam": NeckSpec(kind="efm", sam=True),
    "efm_spp": NeckSpec(kind="efm", spp=True),
}


def neck_spec(name: str) -> NeckSpec:
    """Return the row of a named neck; change a column with ``dataclasses.replace``.

    Raises:
        InputError: if there is no such neck.
    """
    check_type("name", name, str, f"one of {', '.join(NECKS)}")
    if name not in NECKS:
        raise InputError(f"neck {name!r} is unknown{nearest(name, NECKS)}: one of {', '.join(NECKS)}")
    return NECKS[name]
