"""What a network costs on paper: counted from its trace."""

from __future__ import annotations

import torch
from torch import nn

from featherbone.cost import Cost, Reconciled
from featherbone.cost import cost as counted
from featherbone.cost import reconcile as compared
from featherbone.files import AnyPath
from featherbone.weights import Row
from featherbone.weights.open import AnyNetwork, header_of, open_module, row_of

_DEFAULT_SIZE = 224


def cost(
    source: AnyNetwork,
    size: int | tuple[int, int] | None = None,
    *,
    batch: int = 1,
    in_chans: int | None = None,
    training: bool = False,
) -> Cost:
    """Count what any image network costs, from one trace; the module is not changed.

    Args:
        source: a name, a row, a run or its folder, a weight file, or any module that takes images ``(B, C, H, W)``.
        size: side of the image in pixels, or (height, width); default: as trained, else as published, else 224.
        batch: images at a time.
        in_chans: channels of the image; default: those the first convolution reads.
        training: trace a training step too, for its peak memory.

    Raises:
        InputError: if there is no such network, or it cannot be traced at this size.
    """
    module = open_module(source)
    return counted(module, _usual(source) if size is None else size, batch=batch, in_chans=in_chans, training=training)


def reconcile(
    source: AnyNetwork,
    size: int | tuple[int, int] | None = None,
    *,
    batch: int = 1,
    in_chans: int | None = None,
) -> list[Reconciled]:
    """Count a network with three counters, and say per operation why they differ.

    Args:
        source: as for ``cost``.
        size: as for ``cost``.
        batch: images at a time.
        in_chans: channels of the image; default: those the first convolution reads.

    Raises:
        InputError: if there is no such network, or it cannot be traced at this size.
    """
    return compared(open_module(source), _usual(source) if size is None else size, batch=batch, in_chans=in_chans)


def count_parameters(source: AnyPath | Row | nn.Module) -> int:
    """Return the number of trainable values of a network, without making it; shared ones count once.

    Args:
        source: a name, a row, a run or its folder, a weight file, or any module, whose frozen values count as well.

    Raises:
        InputError: if there is no such network.

    >>> count_parameters("densenet121")
    7978856
    """
    if isinstance(source, nn.Module):
        return sum(parameter.numel() for parameter in source.parameters())
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in row_of(source).build().parameters())


def _usual(source: AnyNetwork) -> int:
    header = header_of(source)
    if header is None:
        return _DEFAULT_SIZE
    return header.preprocess.size if header.preprocess else header.spec.usual_size
