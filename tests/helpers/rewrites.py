"""What the proofs of the rewrites share: numbers that show a wrong order, and equality to 1e-10 in float64."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.rewrites import Rule

Module = TypeVar("Module", bound=nn.Module)
aten = torch.ops.aten
EXACT = 1e-10


def shaken(model: Module, seed: int = 0) -> Module:
    """Make all numbers random, in float64: weights, gains without zeros, shifts, running statistics."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point():
                continue
            if tensor.dim() < 2:
                low = 0.5 if name.endswith(("running_var", "weight", "gamma")) else -0.5
                tensor.uniform_(low, low + 1, generator=generator)
            else:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
    return model


def images(size: int | tuple[int, int] = 8, channels: int = 3, batch: int = 3) -> Tensor:
    sides = size if isinstance(size, tuple) else (size, size)
    return torch.randn(batch, channels, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def graph_of(model: nn.Module, x: Tensor) -> GraphModule:
    return rewritable(captured(model, x))


def calls(graph: GraphModule, *targets: object) -> list[Node]:
    return [node for node in graph.graph.nodes if node.op == "call_function" and node.target in targets]


def same(wanted: Any, given: Any) -> None:
    """Compare outputs, one or several."""
    if not isinstance(wanted, Tensor):
        assert len(wanted) == len(given)
        for one, other in zip(wanted, given, strict=True):
            same(one, other)
        return
    assert wanted.shape == given.shape
    assert wanted.dtype == given.dtype
    error = (wanted - given).abs().max()
    assert error <= EXACT * max(1.0, float(wanted.abs().max())), error
    assert float(wanted.abs().max()) < 1e12, "too large to compare"


def equal(model: nn.Module, graph: nn.Module, x: Tensor) -> None:
    """Compare at the batch size given and at one; the images are copied, for a network may change them."""
    with torch.no_grad():
        for batch in (x, x[:1]):
            same(model(batch.clone()), graph(batch.clone()))


def proven(model: nn.Module, rule: Rule, x: Tensor | None = None) -> tuple[GraphModule, int]:
    """Apply a rule to a network with random numbers, compare, and return the new graph and how often it applied."""
    x = images() if x is None else x
    before = graph_of(shaken(model), x)
    code = str(before.graph)
    after, count = rule(before)
    equal(model, after, x)
    equal(model, before, x)  # a rule changes nothing that it was given
    assert str(before.graph) == code
    assert (after is before) == (count == 0)
    return after, count


class Calls(nn.Module):
    """A network from a function of its layers and the images."""

    def __init__(self, forward: Any, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.layers)


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def point(inputs: int, outputs: int, **how: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, **how)


def depthwise(channels: int, **how: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, **how)


def interleaved(parts: Sequence[Tensor]) -> Tensor:
    """Shuffle by stacking: one channel of each in turn."""
    return torch.stack(list(parts), 2).flatten(1, 2)


def shuffled(x: Tensor, groups: int) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)
