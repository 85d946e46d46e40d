"""A file's tensors against a project's form of a network: which of them are which of our layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from featherbone.spec import Backbone, Spec
from featherbone.weights.importers.sources import SOURCES, LayerMapping, Project


@dataclass
class Match:
    """A source against a file."""

    source: Project
    layers: list[LayerMapping]
    prefix: str
    tensors: Mapping[str, Tensor]
    used: set[str] = field(default_factory=set)

    @property
    def found(self) -> int:
        """How many of the source's layers the file has."""
        return sum(self.has(layer) for layer in self.layers)

    def has(self, layer: LayerMapping) -> bool:
        name = self.prefix + layer.names[0]
        return name in self.tensors or f"{name}.weight" in self.tensors

    def get(self, layer: LayerMapping, tensor: str) -> list[Tensor] | None:
        """Return a tensor of every foreign layer that makes up one of ours; all or none."""
        names = [self.prefix + name for name in layer.names]
        full = [name if name in self.tensors else f"{name}.{tensor}" for name in names]
        if not all(name in self.tensors for name in full):
            return None
        self.used.update(full)
        return [self.tensors[name] for name in full]


def recognize(row: Spec, tensors: Mapping[str, Tensor]) -> Match | None:
    """Return the source of which the file has most layers, if it has a good part of them."""
    matches = []
    for source in SOURCES[row.family]:
        renamed = {source.rename(name): tensor for name, tensor in tensors.items()}
        layers = [layer if isinstance(layer, LayerMapping) else LayerMapping((layer,)) for layer in source.layers(row)]
        if layers:
            matches.append(Match(source, layers, _prefix(layers[0].names[0], renamed), renamed))
    best = max(matches, key=lambda match: match.found, default=None)
    # a file with folded norms and without last layers has nearly half
    return best if best and best.found > 0.4 * len(best.layers) else None


def _prefix(first: str, tensors: Iterable[str]) -> str:
    """Return what stands before the first layer's name, as "module." or "backbone."."""
    found = [name for name in tensors if f".{name}".endswith(f".{first}.weight")]
    return min(found, key=len).removesuffix(f"{first}.weight") if found else ""


def ours(model: Backbone, tensors: Mapping[str, Tensor]) -> Match:
    """Return our own names as a source, for files that have them."""
    layers = [LayerMapping((name,)) for name, _ in layers_of(model)]
    return Match(Project("featherbone", lambda _: ()), layers, "", tensors)


def layers_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that have tensors of their own, in the order in which they run."""
    return [
        (name, part)
        for name, part in model.named_modules()
        if next(part.parameters(recurse=False), None) is not None or next(part.buffers(recurse=False), None) is not None
    ]
