"""Choose precision and memory order by timing a few steps here: which is faster depends on processor and network."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

Compute = tuple[str, bool]  # precision, channels_last

CANDIDATES: tuple[Compute, ...] = (("f32", True), ("f32", False), ("bf16", True))


def memory_format(channels_last: bool) -> torch.memory_format:
    """Return torch's name for the order of an image's axes in memory."""
    return torch.channels_last if channels_last else torch.contiguous_format


def fastest(
    model: nn.Module, shape: tuple[int, int, int, int], candidates: Sequence[Compute], device: torch.device
) -> Compute:
    """Return the candidate with the shortest training step for inputs of ``shape``; the model is left as it was."""
    with torch.random.fork_rng():
        seconds = {
            candidate: _step_seconds(copy.deepcopy(model).to(device), shape, candidate) for candidate in candidates
        }
    return min(seconds, key=seconds.__getitem__)


def _step_seconds(model: nn.Module, shape: tuple[int, int, int, int], compute: Compute) -> float:
    """Return the best of three steps after one to warm up: the best is what the machine can do when left alone."""
    precision, channels_last = compute
    device = next(model.parameters()).device
    order = memory_format(channels_last)
    model.to(memory_format=order).train()
    images = torch.randn(shape, device=device).to(memory_format=order)
    labels = torch.zeros(shape[0], dtype=torch.long, device=device)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()  # waits for a GPU
        times.append(time.perf_counter() - start)
    return min(times[1:])
