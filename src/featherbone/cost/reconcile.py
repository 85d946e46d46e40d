"""Why two counters differ: ours beside PyTorch's and fvcore's, operation by operation."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from featherbone.cost.macs import macs
from featherbone.graph import copy_network, image_channels, meta_copy, trace

# fvcore's names for what sums products, and ours
_SAME = {"conv": "convolution", "linear": "matrix product", "matmul": "matrix product", "addmm": "matrix product"}
_PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}
_ELEMENTWISE = {
    "batch_norm",
    "layer_norm",
    "group_norm",
    "adaptive_avg_pool2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
}


@dataclass(frozen=True)
class Reconciled:
    """One kind of operation in three counters.

    Attributes:
        op: the operation.
        ours: multiply-accumulates.
        torch: those of PyTorch's counter, which prints twice as many.
        fvcore: those of fvcore, which calls one a flop; ``None`` if it is not installed or cannot trace the network.
        why: why they differ; empty if they do not.
    """

    op: str
    ours: int
    torch: int
    fvcore: int | None
    why: str = ""


def reconcile(
    module: nn.Module, size: int | tuple[int, int] = 224, *, batch: int = 1, in_chans: int | None = None
) -> list[Reconciled]:
    """Count a network with three counters, and say per operation why they differ.

    Args:
        module: any module that takes images ``(B, C, H, W)``; it is not changed.
        size: side of the image in pixels, or (height, width).
        batch: images at a time.
        in_chans: channels of the image; default: those the first convolution reads.

    Raises:
        InputError: if the network cannot be traced at this size.
    """
    ours: Counter[str] = Counter()
    for node in trace(module, size, batch=batch, in_chans=in_chans).nodes:
        ours[_kind(node.op)] += macs(node) or 0
    sides = (size, size) if isinstance(size, int) else size
    shape = (batch, in_chans or image_channels(module), *sides)
    theirs = _torchs(module, shape)
    third = _fvcores(module, shape)
    found = {**ours, **theirs, **(third or {})}
    rows = [_row(kind, ours[kind], theirs[kind], None if third is None else third[kind]) for kind in found]
    return [row for row in rows if row.ours or row.torch or row.fvcore]


def _row(kind: str, ours: int, torchs: int, fvcores: int | None) -> Reconciled:
    why = ""
    if kind in _ELEMENTWISE and fvcores and not ours:
        why = "no products are summed here; fvcore counts its element-wise work"
    elif ours != torchs and not torchs:
        why = "PyTorch's counter has no formula for it"
    elif fvcores is not None and fvcores != ours and not fvcores:
        why = "fvcore has no formula for it"
    elif ours != torchs or (fvcores is not None and fvcores != ours):
        why = "other formulas"
    return Reconciled(kind, ours, torchs, fvcores, why)


def _kind(op: str) -> str:
    name = op.removeprefix("aten.").removesuffix("_")
    return "matrix product" if name in _PRODUCTS else "attention" if "attention" in name else name


def _torchs(module: nn.Module, shape: tuple[int, ...]) -> Counter[str]:
    from torch.utils.flop_counter import FlopCounterMode  # takes its time to import

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        meta_copy(module)(torch.empty(shape, device="meta"))
    found: Counter[str] = Counter()
    for op, flops in counter.get_flop_counts().get("Global", {}).items():
        found[_kind(str(op))] += flops // 2
    return found


def _fvcores(module: nn.Module, shape: tuple[int, ...]) -> Counter[str] | None:
    found: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own use of torch.jit
        try:
            from fvcore.nn import FlopCountAnalysis

            logging.getLogger("fvcore").setLevel(logging.ERROR)
            analysis = FlopCountAnalysis(copy_network(module).eval(), torch.zeros(shape))
            analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
            counted = analysis.by_operator()
        except (ModuleNotFoundError, RuntimeError, TypeError, ValueError):
            return None
    for op, number in counted.items():
        found[_SAME.get(op, op)] += int(number)
    return found
