"""A file's tensors against a project's form of a network: which of them are which of our layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor, nn

from featherbone.spec import Spec
from featherbone.weights.importers.checkpoint import IDLE, Checkpoint
from featherbone.weights.importers.sources import SOURCES, LayerMapping, Project
from featherbone.weights.importers.values import COUNTS

OURS = "featherbone"
_MOST_NETWORKS = 64  # in one file, so that a hostile one takes no time
_STATISTICS = ("running_mean", "running_var", COUNTS)


@dataclass
class Match:
    """A source against a file.

    Attributes:
        source: the project.
        layers: its layers, in the order of ours.
        prefix: what their names begin with in the file.
        names: the file's names, by those that the source gives them.
        tensors: the file's.
        used: names of tensors that were taken.
        borrowed: how many statistics of norms are those of other weights in the file.
    """

    source: Project
    layers: list[LayerMapping]
    prefix: str
    names: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    used: set[str] = field(default_factory=set)
    borrowed: int = 0

    @property
    def label(self) -> str:
        """What these weights are called in the file; nothing for a file that holds them alone."""
        return self.prefix.rstrip(".")

    @property
    def found(self) -> int:
        """How many of the source's layers the file has."""
        return sum(self.has(layer) for layer in self.layers)

    def has(self, layer: LayerMapping) -> bool:
        name = self.prefix + layer.names[0]
        return name in self.names or f"{name}.weight" in self.names

    def get(self, layer: LayerMapping, tensor: str) -> list[Tensor] | None:
        """Return a tensor of every foreign layer that makes up one of ours; all or none."""
        names = [self.prefix + name for name in layer.names]
        full = [name if name in self.names else f"{name}.{tensor}" for name in names]
        if not all(name in self.names for name in full):
            return None
        own = [self.names[name] for name in full]
        self.used.update(own)
        return [self.tensors[name] for name in own]

    def inside(self) -> list[str]:
        """Return tensors that nothing has taken, though they lie in the same modules as layers that were.

        A detector's head beside a network is no part of it; a gate between two of its layers is.
        """
        own = {self.names[name]: name.removeprefix(self.prefix) for name in self.names if name.startswith(self.prefix)}
        last = self.layers[-1].names[0].split(".")[0]
        tops = {own[name].split(".")[0] for name in self.used & own.keys()} - {last}
        return [
            name
            for name, inner in own.items()
            if name not in self.used and inner.split(".")[0] in tops and inner.rpartition(".")[2] not in {*IDLE, COUNTS}
        ]

    def of(self, tensors: Mapping[str, Tensor]) -> Match:
        """Return the same with other tensors of the same names."""
        return replace(self, tensors=tensors, used=set())

    def with_statistics(self, other: Match) -> Match:
        """Return the same, with the statistics of norms that it lacks taken from other weights in the file."""
        theirs = {name: own for name, own in other.names.items() if name.startswith(other.prefix)}
        lacking = {
            new: own
            for name, own in theirs.items()
            if name.endswith(_STATISTICS) and (new := self.prefix + name.removeprefix(other.prefix)) not in self.names
        }
        return replace(self, names={**self.names, **lacking}, borrowed=len(lacking))


def shapes_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return tensors of the same shapes that hold nothing, to try what fits without reading or making values."""
    return {name: torch.empty(tensor.shape, device="meta") for name, tensor in checkpoint.tensors.items()}


def matches(row: Spec, tensors: Mapping[str, Tensor], own: Iterable[str]) -> list[Match]:
    """Return every source, and every place in the file, with a good part of a network's layers.

    Args:
        row: the network's.
        tensors: the file's.
        own: the names of our own layers; none to leave our own form out.
    """
    found: list[Match] = []
    for source, layers in [(Project(OURS, lambda _: ()), list(map(_layer, own))), *forms(row)]:
        if layers:
            names = {source.rename(name): name for name in tensors}
            prefixes = _prefixes(layers[0].names[0], names)[:_MOST_NETWORKS]
            found += [Match(source, layers, prefix, names, tensors) for prefix in prefixes]
    # a file with folded norms and without last layers has nearly half
    return [match for match in found if match.found > 0.4 * len(match.layers)]


@cache
def forms(row: Spec) -> list[tuple[Project, list[LayerMapping]]]:
    """Return every project's layers of a network; a file that fits nowhere is tried against all networks."""
    return [(source, list(map(_layer, source.layers_of(row)))) for source in SOURCES[row.family]]


def _layer(layer: LayerMapping | str) -> LayerMapping:
    return layer if isinstance(layer, LayerMapping) else LayerMapping((layer,))


def _prefixes(first: str, names: Iterable[str]) -> list[str]:
    """Return what stands before the first layer's name, as "state_dict." or "backbone."; the shortest first."""
    return sorted(
        {name.removesuffix(f"{first}.weight") for name in names if f".{name}".endswith(f".{first}.weight")},
        key=lambda prefix: (len(prefix), prefix),
    )


@cache
def own_layers(row: Spec) -> tuple[str, ...]:
    """Return the names of a network's layers, as ``layers_of`` of the network."""
    return tuple(name for name, _ in layers_of(row.build_empty()))


def layers_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that have tensors of their own, in the order in which they run."""
    return [
        (name, part)
        for name, part in model.named_modules()
        if next(part.parameters(recurse=False), None) is not None or next(part.buffers(recurse=False), None) is not None
    ]
