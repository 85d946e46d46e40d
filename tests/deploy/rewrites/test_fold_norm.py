"""Rewrites are exact identities; a file is written only if the engine gives the network's answers."""

import pytest
import torch
from helpers.families import thin
from helpers.reference import randomize
from torch import Tensor, nn

from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.rewrites.fold_norm import fold_norm


def folded(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """Return outputs before and after folding, how many norms were folded, and how many are left."""
    graph, count = fold_norm(rewritable(captured(model, x)))
    left = len(graph.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default))
    with torch.no_grad():
        return model(x), graph(x), count, left


@pytest.mark.parametrize(
    ("name", "goes", "stays"),
    [
        # follow a convolution: the stem's norm and each layer's second; the others follow a concatenation
        ("densenet121", 1 + 8, 8 + 3 + 1),
        ("vovnet27_slim", 27, 0),
        ("shufflenet_v2_x0_5", 2 + 3 * 5 + 4 * 3, 0),
    ],
)
def test_folding_is_exact_and_knows_preactivation(name: str, goes: int, stays: int) -> None:
    torch.manual_seed(0)
    model = randomize(thin(name, num_classes=5).build()).double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    before, after, count, left = folded(model, x)
    assert (count, left) == (goes, stays)
    assert (before - after).abs().max() <= 1e-10 * max(1.0, before.abs().max().item())


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, bias=True), nn.BatchNorm2d(6)),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, dilation=2), nn.BatchNorm2d(4, affine=False)),
    ],
    ids=["bias", "groups", "same", "no affine"],
)
def test_every_kind_of_convolution_folds(model: nn.Module) -> None:
    torch.manual_seed(0)
    norm = model[1]  # type: ignore[index]
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    before, after, count, left = folded(model.double().eval(), torch.randn(2, 3, 9, 9, dtype=torch.float64))
    assert (count, left) == (1, 0)
    assert (before - after).abs().max() <= 1e-12


def test_what_may_not_be_folded_is_not() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 1)
            self.norm = nn.BatchNorm2d(4)
            self.free = nn.BatchNorm2d(4, affine=False, track_running_stats=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.convolution(x)
            return self.norm(y) + y + self.free(self.convolution(x))

    model = randomize(Branches().double())
    before, after, count, left = folded(model, torch.randn(2, 3, 5, 5, dtype=torch.float64))
    assert (count, left) == (0, 2)
    assert torch.equal(before, after)


def test_one_convolution_used_with_two_norms() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 1)
            self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(self.convolution(x)) - self.second(self.convolution(2 * x))

    model = randomize(Twice().double())
    before, after, count, _ = folded(model, torch.randn(2, 3, 5, 5, dtype=torch.float64))
    assert count == 2
    assert (before - after).abs().max() <= 1e-12
