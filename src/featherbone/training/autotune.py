"""Choose how to compute: precision and memory order by timing a few steps here, loader processes by the machine.

Which is faster depends on processor and network: bfloat16 speeds DenseNet up and slows ShuffleNet V2 down.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Sequence

import torch
from torch import nn

from featherbone.data.dataset import AnyData
from featherbone.data.loader import all_in_memory
from featherbone.training.allocation import keep_freed_memory
from featherbone.training.distributed import processes
from featherbone.training.recipe import Recipe

Compute = tuple[str, bool]  # precision, channels_last

CANDIDATES: tuple[Compute, ...] = (("f32", True), ("f32", False), ("bf16", True))


def memory_format(channels_last: bool) -> torch.memory_format:
    """Return torch's name for the order of an image's axes in memory."""
    return torch.channels_last if channels_last else torch.contiguous_format


def resolve(recipe: Recipe, model: nn.Module, data: AnyData, device: torch.device) -> Recipe:
    """Return the recipe with ``precision``, ``channels_last`` and ``workers`` decided: as given, or what suits."""
    allowed = [
        (precision, channels_last)
        for precision, channels_last in CANDIDATES
        if recipe.precision in ("auto", precision) and recipe.channels_last in (None, channels_last)
    ] or [(recipe.precision, bool(recipe.channels_last))]
    choice = allowed[0]
    if len(allowed) > 1:
        batch = max(2, min(recipe.batch_size, len(data.train)))
        choice = fastest(model, (batch, data.channels, recipe.size, recipe.size), allowed, device)
    workers = suitable_workers(data, device) if recipe.workers is None else recipe.workers
    return recipe.changed({"precision": choice[0], "channels_last": choice[1], "workers": workers})


def suitable_workers(data: AnyData, device: torch.device) -> int:
    """Return how many processes decode: none for images in memory; on a GPU's machine nearly all cores, else a quarter.

    Where the processor trains, too, more of them only get in its way.
    """
    if all_in_memory(data.train):
        return 0
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    share = cores - 1 if device.type != "cpu" else cores // 4
    return max(1, min(16, share // processes().local))


def fastest(
    model: nn.Module, shape: tuple[int, int, int, int], candidates: Sequence[Compute], device: torch.device
) -> Compute:
    """Return the candidate with the shortest training step for inputs of ``shape``; the model is left as it was."""
    if device.type == "cpu":
        keep_freed_memory()  # as in training
    with torch.random.fork_rng():
        seconds = {
            candidate: step_seconds(copy.deepcopy(model).to(device), shape, candidate) for candidate in candidates
        }
    return min(seconds, key=seconds.__getitem__)


def step_seconds(model: nn.Module, shape: tuple[int, int, int, int], compute: Compute) -> float:
    """Return the best of three training steps after one to warm up: it is what the machine can do when left alone."""
    precision, channels_last = compute
    device = next(model.parameters()).device
    order = memory_format(channels_last)
    model.to(memory_format=order).train()
    images = torch.randn(shape, device=device).to(memory_format=order)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(images).float().square().mean()
        loss.backward()
        loss.item()  # waits for a GPU
        times.append(time.perf_counter() - start)
    return min(times[1:])
