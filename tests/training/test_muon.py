"""Muon turns gradients into what a singular value decomposition says, for every group of a convolution by itself."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import QUICK, history, interrupted, same_weights
from torch import nn

import featherbone as fb
from featherbone.training.muon import Muon, orthogonal
from featherbone.training.optimizer import optimizer_for


@pytest.mark.parametrize("shape", [(1, 16, 40), (1, 40, 16), (3, 8, 8), (5, 1, 9), (2, 7, 1)])
def test_singular_values_follow_the_polynomial_and_directions_stay(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    wanted = values / matrices.norm(dim=(1, 2))[:, None]
    if 1 not in shape[1:]:
        for _ in range(3):
            wanted = 3.4445 * wanted - 4.7750 * wanted**3 + 2.0315 * wanted**5
    found = orthogonal(matrices, torch.float64)
    assert torch.allclose(found, u @ torch.diag_embed(wanted) @ v, atol=1e-9)
    assert torch.allclose(orthogonal(1000 * matrices, torch.float64), found, atol=1e-9)
    rounded = orthogonal(matrices, torch.bfloat16)
    assert torch.nn.functional.cosine_similarity(rounded.flatten(), found.flatten(), dim=0) > 0.99


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert orthogonal(torch.zeros(2, 3, 4)).abs().max() == 0


def test_every_group_of_a_convolution_is_a_matrix_of_its_own() -> None:
    torch.manual_seed(0)
    whole = nn.Conv2d(8, 12, 3, groups=4, bias=False)
    parts = [nn.Conv2d(2, 3, 3, bias=False) for _ in range(4)]
    whole.weight.grad = torch.randn_like(whole.weight)
    before = whole.weight.detach().clone()
    gradient = whole.weight.grad.clone()
    Muon([{"params": [whole.weight], "orthogonal": True, "parts": [4]}], lr=0.1, momentum=0.0).step()
    step = before - whole.weight.detach()
    for number, part in enumerate(parts):
        at = slice(3 * number, 3 * number + 3)
        alone = orthogonal(gradient[at].reshape(1, 3, -1)).reshape(part.weight.shape)
        assert torch.nn.functional.cosine_similarity(step[at].flatten(), alone.flatten(), dim=0) > 0.9999
        assert float(step[at].norm()) == pytest.approx(0.1 * float(before[at].norm()), rel=1e-4)


def test_a_step_is_a_share_of_the_norm_and_the_norm_stays() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3, bias=False)
    begun = float(layer.weight.detach().norm())
    optimizer = Muon([{"params": [layer.weight], "orthogonal": True, "parts": [1]}], lr=0.05)
    for _ in range(30):
        before = layer.weight.detach().clone()
        before *= begun / before.norm()
        layer.weight.grad = torch.randn_like(layer.weight)
        optimizer.step()
        assert float((layer.weight.detach() - before).norm()) == pytest.approx(0.05 * begun, rel=1e-4)
    assert float(layer.weight.detach().norm()) == pytest.approx(begun, rel=0.06)


def test_matrices_of_one_shape_are_turned_together_as_they_would_be_alone() -> None:
    torch.manual_seed(0)
    together = [
        nn.Conv2d(6, 8, 3, bias=False),
        nn.Conv2d(6, 8, 3, groups=2, bias=False),
        nn.Conv2d(3, 4, 3, bias=False),
    ]
    together[0].to(memory_format=torch.channels_last)
    alone = copy.deepcopy(together)
    parts = [layer.groups for layer in together]

    def group(layers: list[nn.Conv2d]) -> list[dict[str, object]]:
        return [{"params": [one.weight for one in layers], "orthogonal": True, "parts": [one.groups for one in layers]}]

    optimizers = [Muon(group(together), lr=0.1), *(Muon(group([one]), lr=0.1) for one in alone)]
    for _ in range(3):
        for first, second in zip(together, alone, strict=True):
            first.weight.grad = torch.randn_like(first.weight)
            second.weight.grad = first.weight.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for first, second in zip(together, alone, strict=True):
        assert torch.allclose(first.weight, second.weight, atol=1e-6)
    assert parts == [1, 2, 1]


def test_all_other_weights_move_as_with_sgd() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.arange(6.0).reshape(2, 3)) for _ in range(2))
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    both = [
        (ours, Muon([{"params": [ours]}], **options)),  # type: ignore[arg-type]
        (theirs, torch.optim.SGD([theirs], nesterov=True, **options)),  # type: ignore[arg-type]
    ]
    for _ in range(5):
        gradient = torch.randn(2, 3)
        for weight, optimizer in both:
            weight.grad = gradient.clone()
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_weights_without_a_gradient_stay() -> None:
    weight, frozen = (nn.Parameter(torch.ones(4, 2, 1, 1)) for _ in range(2))
    bias = nn.Parameter(torch.ones(4))
    groups: list[dict[str, Any]] = [
        {"params": [weight, frozen], "orthogonal": True, "parts": [1, 1]},
        {"params": [bias]},
    ]
    weight.grad = torch.randn_like(weight)
    Muon(groups, lr=0.1).step()
    assert not torch.equal(weight, frozen)
    assert torch.equal(frozen, torch.ones(4, 2, 1, 1))
    assert torch.equal(bias, torch.ones(4))


def test_convolutions_before_a_norm_are_turned_and_nothing_else() -> None:
    model = fb.create_model("shufflenet_v2_x0_5", num_classes=3)
    recipe = fb.Recipe(optimizer="muon", lr=0.05, weight_decay=0.01)
    groups = optimizer_for(model, recipe).param_groups
    turned = {id(weight): parts for group in groups if group["orthogonal"]
              for weight, parts in zip(group["params"], group["parts"], strict=True)}  # fmt: skip
    wanted = {id(m.weight): m.groups for m in model.modules() if isinstance(m, nn.Conv2d) and m.bias is None}
    assert turned == wanted
    assert max(wanted.values()) > 1  # some are depthwise
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert all(group["lr"] == 0.05 for group in groups)


def test_a_run_learns_with_it_and_resumes_to_the_bit(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {**QUICK, "epochs": 6, "optimizer": "muon", "lr": 0.02}
    whole = fb.train(colours, out=tmp_path / "whole", changes=changes, quiet=True)
    losses = [float(row["train_loss"]) for row in history(whole.folder)]
    assert losses[-1] < 0.7 * losses[0]
    with interrupted(monkeypatch, 2, 1):
        fb.train(colours, out=tmp_path / "cut", changes=changes, quiet=True)
    fb.resume(tmp_path / "cut", quiet=True)
    assert same_weights(whole.folder, tmp_path / "cut")
