"""DenseNet's blocks: Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks"
(arXiv 1608.06993, sec. 3).
"""

from __future__ import annotations

from torch import nn

from featherbone.blocks.arguments import require_share
from featherbone.errors import require_count
from featherbone.layers import Dense, preconv


def dense_layer(
    c_in: int,
    growth_rate: int,
    *,
    bottleneck: int = 4,
    dropout: float = 0.0,
    dropout_everywhere: bool = True,
    dilation: int = 1,
) -> nn.Sequential:
    """Return one layer of a dense block, ``(B, c_in, H, W)`` to ``(B, growth_rate, H, W)``.

    Norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution ("Bottleneck layers"). It returns the new maps alone; a
    ``dense_block`` puts them beside what the layer read.

    >>> import torch
    >>> dense_layer(64, 32)(torch.zeros(1, 64, 13, 17)).shape
    torch.Size([1, 32, 13, 17])

    Args:
        c_in: channels that it reads.
        growth_rate: k, feature maps that it adds.
        bottleneck: width of the 1x1 convolution, in multiples of k; 0 leaves it out (the paper's plain DenseNet).
        dropout: probability of dropping after every convolution (sec. 4.2).
        dropout_everywhere: whether it is after the 1x1 convolution, too, or after the 3x3 alone (torchvision's code).
        dilation: of the 3x3 convolution.

    Raises:
        InputError: if a value is not allowed.
    """
    require_count("c_in", c_in)
    require_count("growth_rate", growth_rate)
    require_count("bottleneck", bottleneck, least=0)
    require_share("dropout", dropout)
    require_count("dilation", dilation)
    width = growth_rate * bottleneck
    narrow = [preconv(c_in, width), *_drop(dropout if dropout_everywhere else 0.0)] if width else []
    return nn.Sequential(*narrow, preconv(width or c_in, growth_rate, 3, dilation=dilation), *_drop(dropout))


def dense_block(
    c_in: int,
    layers: int,
    growth_rate: int,
    *,
    bottleneck: int = 4,
    dropout: float = 0.0,
    dropout_everywhere: bool = True,
    dilation: int = 1,
) -> Dense:
    """Return a dense block, ``(B, c_in, H, W)`` to ``(B, c_in + layers * growth_rate, H, W)``.

    Layer i reads the block's input and the maps of all layers before it (equation 2); all of them are the output.

    >>> import torch
    >>> dense_block(64, 6, 32)(torch.zeros(1, 64, 13, 17)).shape
    torch.Size([1, 256, 13, 17])

    Args:
        c_in: channels that come in.
        layers: how many layers.
        growth_rate: feature maps that each of them adds.
        bottleneck: as in ``dense_layer``.
        dropout: as in ``dense_layer``.
        dropout_everywhere: as in ``dense_layer``.
        dilation: of every 3x3 convolution.

    Raises:
        InputError: if a value is not allowed.
    """
    require_count("layers", layers)
    # before the sum, so that a text or a float is refused by its name
    require_count("c_in", c_in)
    require_count("growth_rate", growth_rate)
    widths = [c_in + i * growth_rate for i in range(layers)]
    return Dense(
        dense_layer(
            c,
            growth_rate,
            bottleneck=bottleneck,
            dropout=dropout,
            dropout_everywhere=dropout_everywhere,
            dilation=dilation,
        )
        for c in widths
    )


def transition(c_in: int, c_out: int, *, stride: int = 2, dropout: float = 0.0) -> nn.Sequential:
    """Return a transition, ``(B, c_in, H, W)`` to ``(B, c_out, H // stride, W // stride)``.

    Norm, ReLU, 1x1 convolution, average pool ("Pooling layers"; the ReLU is the authors' code's).

    >>> import torch
    >>> transition(256, 128)(torch.zeros(1, 256, 13, 17)).shape
    torch.Size([1, 128, 6, 8])

    Args:
        c_in: channels that come in.
        c_out: channels that go out; the paper's compression keeps half.
        stride: side of the average pool, 2 in the paper; 1 leaves it out.
        dropout: probability of dropping after the convolution.

    Raises:
        InputError: if a value is not allowed.
    """
    require_count("c_in", c_in)
    require_count("c_out", c_out)
    require_count("stride", stride)
    require_share("dropout", dropout)
    pool = [nn.AvgPool2d(stride)] if stride > 1 else []
    return nn.Sequential(preconv(c_in, c_out), *_drop(dropout), *pool)


def _drop(dropout: float) -> list[nn.Module]:
    return [nn.Dropout(dropout)] if dropout else []
