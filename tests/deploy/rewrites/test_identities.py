"""What changes nothing is left out; what never changes is computed once."""

from typing import Any

import pytest
import torch
from helpers.rewrites import Calls, aten, calls, chain, point, proven
from torch import Tensor, nn
from torch.nn import functional as F

from featherbone.deploy.rewrites.identities import LARGEST_CONSTANT
from featherbone.deploy.rewrites.identities import identities as rule

CONV = aten.conv2d.default


def _no_copy(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous().view(-1, 512).view(-1, 8, 64)


@pytest.mark.parametrize(
    "idle",
    [
        nn.Dropout(0.5),
        nn.Dropout2d(0.5),
        nn.AlphaDropout(0.5),
        lambda x: x.clone(),
        lambda x: x.to(torch.float64),
        lambda x: x.reshape(-1, 8, 8, 8),
        lambda x: x.view(-1, 8, 8, 8).flatten(3),
        lambda x: x[:],
        lambda x: torch.cat([x], 1),
        nn.MaxPool2d(1),
        nn.AvgPool2d(1, 1),
        nn.AdaptiveAvgPool2d(8),
        lambda x: x + 0,
        lambda x: 0.0 + x,
        lambda x: x - 0,
        lambda x: x * 1,
        lambda x: 1.0 * x,
        lambda x: x / 1,
        lambda x: x + torch.zeros(8, 1, 1, dtype=torch.float64),
        lambda x: torch.ones(1, dtype=torch.float64) * x,
    ],
    ids=[
        *("dropout", "dropout2d", "alpha dropout", "clone", "same type", "reshape", "view", "all", "cat"),
        *("max pool", "mean pool", "adaptive pool", "+0", "0+", "-0", "*1", "1*", "/1", "+zeros", "ones*"),
    ],
)
def test_what_changes_nothing(idle: Any) -> None:
    model = Calls(lambda x, a, b: b(idle(a(x))), point(3, 8), point(8, 2))
    model.eval()
    if isinstance(idle, nn.Module):
        idle.eval()
    graph, count = proven(model, rule)
    assert count >= 1
    assert [node.target for node in graph.graph.nodes if node.op == "call_function"] == [CONV, CONV]


@pytest.mark.parametrize(
    "act", [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.2, 0.3), lambda x: x.clamp(-0.1, 0.2), lambda x: x.abs()]
)
def test_twice_is_once(act: Any) -> None:
    graph, count = proven(Calls(lambda x, a: act(act(a(x))), point(3, 8)), rule)
    assert count == 1
    assert sum(node.op == "call_function" for node in graph.graph.nodes) == 2


@pytest.mark.parametrize(
    "busy",
    [
        lambda x: x.to(torch.float32).to(torch.float64),
        lambda x: x.reshape(-1, 64, 8),
        lambda x: x.transpose(1, 2),
        lambda x: x[:, :4],
        lambda x: x[:, 1:] + 0.5,
        lambda x: torch.cat([x, x], 1),
        nn.MaxPool2d(1, 2),
        nn.AvgPool2d(3, 1, 1),
        nn.AdaptiveAvgPool2d(4),
        lambda x: x + 1,
        lambda x: 0 - x,
        lambda x: 1 / x,
        lambda x: x * 2,
        lambda x: x + torch.zeros(3, 1, 8, 1, 1, dtype=torch.float64),
        lambda x: torch.add(torch.zeros(1, dtype=torch.float64), x, alpha=2),
        lambda x: torch.div(x, 1, rounding_mode="floor"),
        lambda x: F.hardtanh(F.hardtanh(x, -0.2, 0.3), -0.1, 0.4),
        lambda x: F.leaky_relu(F.leaky_relu(x, 0.1), 0.1),
    ],
)
def test_what_changes_something(busy: Any) -> None:
    model = Calls(lambda x, a: busy(a(x)), point(3, 8))
    graph, _ = proven(model, rule)
    assert len([node for node in graph.graph.nodes if node.op == "call_function"]) >= 2


def test_a_view_after_a_copy_that_is_gone() -> None:
    graph, count = proven(chain(point(3, 8), Calls(_no_copy)), rule)
    assert count == 1
    assert not calls(graph, aten.contiguous.default, aten.view.default)


def test_a_copy_stays_where_something_changes_in_place() -> None:
    def forward(x: Tensor) -> Tensor:
        y = x.clone()
        x.mul_(2)
        return y + x

    assert proven(Calls(forward), rule)[1] == 0


class Constants(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))
        self.gain = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        weight = F.normalize(self.weight, dim=1) * self.gain.view(4, 1, 1, 1)
        first, second = weight.chunk(2)
        grid = torch.arange(8, dtype=x.dtype).view(1, 1, 8, 1) / 8
        return F.conv2d(x, torch.cat([second, first])) + grid


def test_constants_are_computed_once() -> None:
    graph, count = proven(Constants(), rule)
    assert count >= 6
    targets = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert targets == [CONV, aten.add.Tensor]


def test_random_numbers_are_no_constants() -> None:
    model = Calls(lambda x: x + 0 * torch.rand(8, 8, dtype=torch.float64))
    graph, _ = proven(model, rule)
    assert calls(graph, aten.rand.default)


def test_large_constants_are_not_stored() -> None:
    side = int((LARGEST_CONSTANT / 8) ** 0.5)
    for more, stored in ((0, True), (1, False)):
        model = Calls(lambda x, more=more: x.sum() * torch.ones(side + more, side, dtype=torch.float64).exp().mean(1))
        graph, _ = proven(model, rule)
        assert bool(calls(graph, aten.exp.default)) != stored


def test_a_network_without_any_passes_untouched() -> None:
    assert proven(chain(point(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)), rule)[1] == 0
