"""How other projects name and arrange the layers of the networks we know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from featherbone.data import Preprocess
from featherbone.spec import Spec

State = dict[str, Tensor]


@dataclass(frozen=True)
class LayerMapping:
    """Where the tensors of one of our layers are in a foreign file.

    Attributes:
        names: the foreign layer; of several the outputs are concatenated in this order.
        change: makes our weight of the foreign one.
        swaps: how many of the first input channels come last here.
        output_swaps: how many of the first output channels do.
    """

    names: tuple[str, ...]
    change: Callable[[Tensor], Tensor] | None = None
    swaps: int = 0
    output_swaps: int = 0

    def outputs(self, tensors: list[Tensor]) -> Tensor:
        """Return a tensor of ours that has an entry for each output channel."""
        whole = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        return torch.cat([whole[self.output_swaps :], whole[: self.output_swaps]]) if self.output_swaps else whole

    def weight(self, tensors: list[Tensor]) -> Tensor:
        """Return our weight."""
        whole = self.outputs(tensors)
        if self.change:
            whole = self.change(whole)
        return torch.cat([whole[:, self.swaps :], whole[:, : self.swaps]], 1) if self.swaps else whole


Layer = str | LayerMapping


@dataclass(frozen=True)
class Project:
    """One project's form of a family.

    Attributes:
        name: the project.
        layers: for a row, the foreign layers in the order in which ours are registered, which is that of running.
        rename: rewrites a foreign name first, for older files.
        permute: reorders channels in the state of our network, where the project arranges them otherwise.
        reordered: what that did, in words.
        norm_eps: what the project's batch norms add to the variance, if not PyTorch's 1e-5.
        preprocess: how the project's published weights are fed, where its files do not differ in it.
        either: columns, true or false, in which the project's files of one network differ.
        always: columns that no tensor tells, with the values that they have in all of the project's networks; of a
            column with a value for each stage, that of all stages.
    """

    name: str
    layers: Callable[[Spec], Iterable[Layer]]
    rename: Callable[[str], str] = str
    permute: Callable[[Spec, State], State] | None = None
    reordered: str = ""
    norm_eps: float = 1e-5
    preprocess: Preprocess | None = None
    either: tuple[str, ...] = ()
    always: Mapping[str, Any] = field(default_factory=dict)

    def layers_of(self, row: Spec) -> Iterator[Layer]:
        """Yield the project's layers of a network; none of one that the project does not have."""
        for column in fields(row):
            value = getattr(row, column.name)
            if column.name in self.always and {*(value if isinstance(value, tuple) else [value])} != {
                self.always[column.name]
            }:
                return
        yield from self.layers(row)

    def rows(self, row: Spec) -> Iterator[Spec]:
        """Yield the row, and those that the project's files also come in."""
        yield row
        for column in self.either:
            other: dict[str, Any] = {column: not getattr(row, column)}
            yield replace(row, **other)


def pairs(*blocks: str, convolution: str = "conv", norm: str = "bn") -> Iterator[str]:
    """Yield the convolution and the norm of every block, for projects that name them alike everywhere."""
    for block in blocks:
        yield f"{block}{convolution}"
        yield f"{block}{norm}"
