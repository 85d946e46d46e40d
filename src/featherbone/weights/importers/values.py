"""Tensors of a file as numbers that our layers can take: converted where that is exact, and said; refused otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from featherbone.data.names import printable
from featherbone.errors import InputError, counted, some

COUNTS = "num_batches_tracked"
_EXACT = (torch.float32, torch.float64)


class Values(Mapping[str, Tensor]):
    """Named tensors, each looked at and converted when it is asked for.

    Args:
        tensors: as the file has them.

    Raises:
        InputError: where a tensor is asked for that holds no weights.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.changed: dict[str, list[str]] = {}
        self.known: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.known:
            tensor, said = _plain(printable(name), self.tensors[name])
            self.known[name] = tensor
            if said:
                self.changed.setdefault(said, []).append(printable(name))
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def notes(self) -> list[str]:
        """Return what was converted, a sentence for each way."""
        return [f"{counted(len(names), 'tensor')} {said}: {some(names, 3)}" for said, names in self.changed.items()]


def _plain(name: str, tensor: Tensor) -> tuple[Tensor, str]:
    """Return a dense tensor of floating point numbers, and what was done to make it one."""
    kind = str(tensor.dtype).removeprefix("torch.")
    said = ""
    if tensor.is_meta:
        raise InputError(f"{name} has no values: only its shape was saved")
    if tensor.is_quantized:
        tensor, said = tensor.dequantize(), f"of {kind} dequantized (approximations of what was trained)"
    if tensor.layout is not torch.strided:
        tensor, said = tensor.to_dense(), "made dense (sparse before)"
    if tensor.is_complex():
        if bool(tensor.imag.count_nonzero()):
            raise InputError(f"{name} holds complex numbers ({kind}), which no layer here takes")
        tensor, said = tensor.real, f"of {kind} made real (no imaginary part)"
    if name.endswith(COUNTS):
        return tensor.nan_to_num().long(), ""
    if tensor.dtype not in _EXACT:
        floating, exact = tensor.is_floating_point(), tensor.float()
        if not floating and not torch.equal(exact.to(tensor.dtype), tensor):
            raise InputError(f"{name} holds whole numbers ({kind}) too large for float32")
        tensor = exact
        said = said or f"of {kind} made float32, exactly" + ("" if floating else " (whole numbers: no usual weights)")
    if odd := tensor.numel() - int(tensor.isfinite().sum()):
        raise InputError(
            f"{name} has {counted(odd, 'value')} of {tensor.numel():,} that {_IS[odd > 1]} NaN or infinite"
        )
    return tensor, said


_IS = ("is", "are")
