"""What shows that an imported network computes as the one it came from: outputs that were kept beside the weights."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featherbone.errors import InputError, check_type, counted, first_line, parsing, some
from featherbone.files import exists
from featherbone.spec import Backbone

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Reference:
    """Inputs and what the original network made of them.

    Attributes:
        name: the file.
        images: ``(N, C, H, W)``.
        output: what the network returns for them, ``(N, classes)``, or the last map, ``(N, channels, H, W)``.
    """

    name: str
    images: Tensor
    output: Tensor


@dataclass(frozen=True)
class Proof:
    """How far outputs are from a reference.

    Attributes:
        reference: its file.
        images: how many.
        difference: the largest of all outputs.
        relative: the same as a share of the largest output.
        tolerance: the share that is allowed.
    """

    reference: str
    images: int
    difference: float
    relative: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the outputs are close enough."""
        return self.relative <= self.tolerance

    def __str__(self) -> str:
        return (
            f"largest difference {self.difference:.2g}, {self.relative:.2g} of the largest output, over "
            f"{counted(self.images, 'image')} of {self.reference} (allowed: {self.tolerance:g})"
        )


def read_reference(path: str | os.PathLike[str]) -> Reference:
    """Return the arrays ``input`` and ``output`` of a NumPy archive.

    Raises:
        InputError: if it cannot be read, lacks one of them, or they prove nothing.
    """
    check_type("check", path, (str, os.PathLike), "an .npz file with the arrays input and output")
    file = Path(path)
    if not exists(file):
        raise InputError(f"no such reference: {file}")
    with parsing(file, "it is no .npz file of plain arrays"), np.load(file, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    lacking = [name for name in ("input", "output") if name not in found]
    if lacking:
        arrays = f"{'array' if len(lacking) == 1 else 'arrays'} {' and '.join(lacking)}"
        raise InputError(f"{file} lacks the {arrays}; it holds {some(list(found)) or 'nothing'}")
    tensors = []
    for name, dimensions in (("input", (4,)), ("output", (2, 4))):
        array = found[name]
        if array.dtype.kind != "f" or array.ndim not in dimensions or not array.size:
            allowed = "(N, C, H, W)" if name == "input" else "(N, classes), or a map (N, channels, H, W)"
            raise InputError(
                f"{name} in {file} is not allowed: floating point numbers {allowed}, not {array.dtype} {array.shape}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{name} in {file} holds NaN or infinity")
        if array.min() == array.max():
            raise InputError(f"{name} in {file} is {array.flat[0]:g} everywhere: it proves nothing")
        tensors.append(torch.from_numpy(array.astype(np.float64 if array.dtype.itemsize > 4 else np.float32)))
    images, output = tensors
    if len(images) != len(output):
        raise InputError(f"{file} has {len(images)} inputs and {len(output)} outputs")
    return Reference(str(file), images, output)


def prove(model: Backbone, reference: Reference, tolerance: float) -> Proof:
    """Compare a network with a reference, in float64 if its output is, else in float32.

    Raises:
        InputError: if the network does not take these inputs or returns another shape.
    """
    wanted = reference.output
    network = copy.deepcopy(model).to(wanted.dtype).eval()
    images = reference.images.to(wanted.dtype)
    if images.shape[1] != model.spec.in_chans:
        raise InputError(
            f"input in {reference.name} has {counted(images.shape[1], 'channel')}, the network reads "
            f"{model.spec.in_chans}"
        )
    with torch.no_grad():
        try:
            found = network(images) if wanted.ndim == 2 else network.forward_features(images)
        except RuntimeError as error:
            raise InputError(f"the network cannot read the input in {reference.name}: {first_line(error)}") from error
    if found.shape != wanted.shape:
        raise InputError(
            f"output in {reference.name} has the shape {tuple(wanted.shape)}, the network returns {tuple(found.shape)}"
        )
    difference = (found - wanted).abs().max().item()
    return Proof(reference.name, len(images), difference, difference / wanted.abs().max().item(), tolerance)
