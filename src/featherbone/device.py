"""The device that computes: by its name, or the accelerator that is there."""

from __future__ import annotations

import torch
from torch import nn

from featherbone.errors import InputError


def device_named(name: str | None) -> torch.device:
    """Return a device of this machine.

    Args:
        name: "cpu", or an accelerator that is there, such as "cuda", "cuda:1" or "mps"; ``None``: the processor.

    Raises:
        InputError: if there is no such device.
    """
    kind = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if kind else 0
    here = ["cpu", *([kind.type, *(f"{kind.type}:{number}" for number in range(count))] if kind else [])]
    if name is not None and name not in here:
        raise InputError(f"device={name!r} is not allowed: this machine has {', '.join(here)}")
    return torch.device(name or "cpu")


def usual_device() -> torch.device:
    """Return the accelerator of this machine, or the processor if there is none: what training takes by default."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def device_of(module: nn.Module) -> torch.device:
    """Return where a module's weights lie; the processor for one that has none."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
