"""CSPNet round a dense block: Wang et al., "CSPNet: A New Backbone that can Enhance Learning Capability of CNN"
(arXiv 1911.11929, sec. 3, Fig. 2b and 3).
"""

from __future__ import annotations

from functools import partial

from torch import nn

from featherbone.blocks.arguments import require_share
from featherbone.blocks.densenet import dense_block, transition
from featherbone.errors import require, require_count
from featherbone.layers import Fusion, bypass_channels, cross_stage


def csp_dense_block(
    c_in: int,
    layers: int,
    growth_rate: int,
    *,
    c_out: int | None = None,
    partial_ratio: float = 0.5,
    fusion: Fusion = "both",
    compression: float = 0.5,
    bottleneck: int = 4,
    dropout: float = 0.0,
    dilation: int = 1,
) -> nn.Sequential:
    """Return a partial dense block with its transitions, ``(B, c_in, H, W)`` to ``(B, c_out, H, W)``.

    The first channels walk round the dense block and are concatenated with what it makes of the rest. None of the
    transitions has a pool.

    >>> import torch
    >>> csp_dense_block(64, 6, 32)(torch.zeros(1, 64, 13, 17)).shape
    torch.Size([1, 256, 13, 17])

    Args:
        c_in: channels that come in.
        layers: of the dense block.
        growth_rate: feature maps that each of them adds.
        c_out: channels that go out; by default as many as a plain dense block's.
        partial_ratio: gamma, the share of the channels that walks round.
        fusion: where transitions stand (Fig. 3): after the dense block, before the two shares meet ("last"), after they
            met ("first"), or both.
        compression: with ``fusion="both"``, the share of the dense block's channels that the transition before keeps.
        bottleneck: as in ``dense_layer``.
        dropout: as in ``dense_layer``; the transitions drop, too.
        dilation: of every 3x3 convolution.

    Raises:
        InputError: if a value is not allowed, or if the share leaves no channel on one of the two ways.
    """
    require_count("c_in", c_in, least=2)
    require_count("layers", layers)
    require_count("growth_rate", growth_rate)
    require_share("partial_ratio", partial_ratio, zero=False)
    require("fusion", fusion, fusion in ("both", "first", "last"), "both, first or last")
    kept = isinstance(compression, int | float) and 0 < compression <= 1
    require("compression", compression, kept, "above 0, at most 1")
    if c_out is None:
        c_out = c_in + layers * growth_rate
    require_count("c_out", c_out)

    def body(c_body: int) -> tuple[nn.Module, int]:
        block = dense_block(c_body, layers, growth_rate, bottleneck=bottleneck, dropout=dropout, dilation=dilation)
        return block, c_body + layers * growth_rate

    return cross_stage(
        *(c_in, c_out, body, partial(transition, stride=1, dropout=dropout)),
        bypass=bypass_channels(c_in, partial_ratio),
        partial_ratio=partial_ratio,
        fusion=fusion,
        compression=compression,
    ).whole
