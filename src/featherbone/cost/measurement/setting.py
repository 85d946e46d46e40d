"""What a measurement is made under: rows of unlike settings are not compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from featherbone.errors import InputError

Precision = Literal["f32", "bf16", "f16"]
_DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How networks are run.

    Attributes:
        size: (height, width) of the images.
        batch: images at a time.
        device: "cpu", "cuda" or "mps"; "cuda:1" is the second GPU.
        precision: of weights and images.
        threads: threads of the processor; pinned while measuring.
        channels_last: whether the channels of a pixel lie together in memory.
    """

    size: tuple[int, int]
    batch: int = 1
    device: str = "cpu"
    precision: Precision = "f32"
    threads: int = 1
    channels_last: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: if one is not allowed, or the device is not there.
        """
        if min(*self.size, self.batch, self.threads) < 1:
            raise InputError(
                f"size={self.size}, batch={self.batch}, threads={self.threads} is not allowed: 1 or more each"
            )
        if self.precision not in _DTYPES:
            raise InputError(f"precision={self.precision!r} is not allowed: {', '.join(_DTYPES)}")
        counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
        kind, colon, number = self.device.partition(":")
        if not counts.get(kind):
            found = ", ".join(name for name, count in counts.items() if count)
            raise InputError(f"device={self.device!r} is not here: {found}")
        if colon and number not in map(str, range(counts[kind])):
            raise InputError(f"device={self.device!r} is not here: {kind} devices are {counts[kind]}, counted from 0")

    def prepared(self, module: nn.Module) -> nn.Module:
        """Move the module to the device, precision and memory order, switch it to evaluation, and return it.

        The module itself is changed: give a copy of one that is still needed as it was.
        """
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        moved = module.to(self.device, _DTYPES[self.precision]).eval()
        return moved.to(memory_format=order)

    def image(self, channels: int) -> Tensor:
        """Return a batch of noise."""
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        noise = torch.randn(self.batch, channels, *self.size, generator=torch.Generator().manual_seed(0))
        return noise.to(self.device, _DTYPES[self.precision]).contiguous(memory_format=order)

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        elif self.device.startswith("mps"):
            torch.mps.synchronize()

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Run the block with the setting's threads and without gradients."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(before)
