"""CSPNet's wiring round any body: Wang et al., arXiv 1911.11929, Fig. 2b and 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from featherbone.errors import InputError
from featherbone.layers.wirings import Parallel, Split

Fusion = Literal["both", "first", "last"]


class Crossed(NamedTuple):
    """A stage's body with CSPNet's wiring round it, and the transition that comes after, once the shares have met.

    Attributes:
        body: the wiring; the plain body without one.
        after: that transition, or nothing. Where a pool ends a stage, it stands behind the pool, and costs a quarter
            there (decision 5); where a convolution shrinks the map, it stands before it, as in released networks.
        channels: of the map between the two.
    """

    body: nn.Sequential
    after: list[nn.Module]
    channels: int

    @property
    def whole(self) -> nn.Sequential:
        """Both, one after the other."""
        return nn.Sequential(*self.body, *self.after)


def bypass_channels(channels: int, partial_ratio: float, multiple: int = 1) -> int:
    """Return how many of the channels walk round a body; the body gets a multiple of ``multiple``.

    >>> bypass_channels(64, 0.25), bypass_channels(10, 0.5, multiple=4)
    (16, 6)
    """
    return channels - round(channels * (1 - partial_ratio) / multiple) * multiple


def cross_stage(
    c_in: int,
    c_out: int,
    body: Callable[[int], tuple[nn.Module, int]],
    transition: Callable[[int, int], nn.Module],
    *,
    bypass: int,
    partial_ratio: float,
    fusion: Fusion,
    closed: Callable[[int, int], nn.Module] | None = None,
    ways: tuple[nn.Module, nn.Module] | None = None,
    compression: float = 1.0,
) -> Crossed:
    """Return a body with CSPNet's wiring round it.

    Args:
        c_in: channels that come in.
        c_out: channels that go out.
        body: given its number of input channels, the body and its number of output channels.
        transition: given input and output channels, a transition.
        bypass: channels that walk round.
        partial_ratio: the share of ``c_in`` that these are meant to be.
        fusion: where the transitions stand: after the body, before the two shares meet ("last"), after they met
            ("first"), or both.
        closed: given input and output channels, the body of a family whose bodies end in a transition of their own:
            that one is then the transition before.
        ways: what makes the share that walks round and the body's share, where no split does.
        compression: share of the body's channels that the transition before keeps, when one comes after too.

    Raises:
        InputError: if this share of the channels leaves none on one of the two ways.
    """
    fills = fusion == "last" or (closed is not None and fusion == "both")  # the body makes what the bypass leaves
    kept = min(c_in, c_out if fills else c_in) - 1
    if not 0 < bypass <= kept:
        raise InputError(
            f"partial_ratio={partial_ratio!r} is not allowed: 1 to {kept} of this stage's {c_in} channels, not {bypass}"
        )
    worked: list[nn.Module] = []
    if closed and fusion != "first":
        c_body = c_out - bypass
        worked.append(closed(c_in - bypass, c_body))
    else:
        inner, c_body = body(c_in - bypass)
        worked.append(inner)
        if fusion != "first":
            before = c_out - bypass if fills else max(int(c_body * compression), 1)
            worked.append(transition(c_body, before))
            c_body = before
    if ways:
        around, through = ways
        wired: nn.Module = Parallel(around, nn.Sequential(through, *worked))
    else:
        wired = Split(bypass, nn.Sequential(*worked))
    met = bypass + c_body
    return Crossed(nn.Sequential(wired), [] if fusion == "last" else [transition(met, c_out)], met)
