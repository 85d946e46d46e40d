"""Recomputation: the same gradients and statistics, in less memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, thin
from reference import randomise
from torch import Tensor, nn

import featherbone as fb

QUICK = ("densenet_bc100_k12_cifar", "csppeleenet", "cspdarknet_nano.yolox", "vovnet27_slim", "shufflenet_v1_g3_x0_5",
         "shufflenet_v2_x0_5")  # fmt: skip


def gradients(model: Any, x: Tensor, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model.zero_grad()
    model(x).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", FAMILIES)
def test_recomputation_changes_neither_gradients_nor_statistics(name: str) -> None:
    torch.manual_seed(0)
    plain = randomise(thin(name, drop_path=0.2).build().double()).train()
    again = fb.recompute(plain)
    assert list(again.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    wanted, found = gradients(plain, x), gradients(again, x)
    assert wanted.keys() == found.keys()
    for key, gradient in wanted.items():
        assert torch.allclose(found[key], gradient, rtol=1e-10, atol=1e-12 * gradient.abs().max().item() + 1e-300), key
    for (key, ours), theirs in zip(again.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key  # running statistics and their counts included: updated once


def kept_bytes(model: nn.Module, x: Tensor) -> int:
    """Return the bytes that autograd keeps for the backward pass, every storage once, parameters not counted."""
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    alive = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        alive.append(model(x))
    return sum(seen.values())


def test_recomputation_makes_a_dense_blocks_memory_linear() -> None:
    x = torch.randn(1, 16, 16, 16, requires_grad=True)

    def block(layers: int) -> nn.Module:
        bricks = [fb.preconv(16 + 8 * i, 8, 3) for i in range(layers)]
        return nn.Sequential(fb.Dense(bricks)).train()

    plain = [kept_bytes(block(n), x) for n in (8, 16, 32)]
    again = [kept_bytes(fb.recompute(block(n)), x) for n in (8, 16, 32)]
    assert plain[2] - plain[1] > 2.5 * (plain[1] - plain[0])  # quadratic: each doubling adds four times as much
    assert again[2] - again[1] < 2.5 * (again[1] - again[0])  # linear: twice as much
    assert again[2] < plain[2] / 5


def test_recomputation_needs_our_wirings() -> None:
    with pytest.raises(fb.InputError, match="wirings"):
        fb.recompute(nn.Sequential(nn.Conv2d(3, 3, 1)))


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process_group")
@pytest.mark.parametrize("name", QUICK)
def test_recomputation_works_under_data_parallel_training(name: str) -> None:
    torch.manual_seed(0)
    plain = thin(name).build().double().train()
    again = nn.parallel.DistributedDataParallel(fb.recompute(plain))
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    wanted, found = gradients(plain, x), gradients(again, x)
    for key, gradient in wanted.items():
        assert torch.allclose(found[f"module.{key}"], gradient, rtol=1e-9, atol=1e-12), key
    for key, tensor in plain.state_dict().items():
        assert torch.equal(again.module.state_dict()[key], tensor), key


def test_recomputation_compiles_for_training() -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    plain = thin("densenet_bc100_k12_cifar").build().train()
    compiled: Any = torch.compile(fb.recompute(plain), backend="aot_eager")
    x = torch.randn(2, 3, 32, 32)
    wanted, found = gradients(plain, x), gradients(compiled, x)
    for key, gradient in wanted.items():
        assert torch.allclose(
            found[f"_orig_mod.{key}"], gradient, rtol=1e-3, atol=1e-5 * gradient.abs().max().item()
        ), key
    for key, tensor in plain.state_dict().items():
        assert torch.allclose(compiled.state_dict()[f"_orig_mod.{key}"].float(), tensor.float(), atol=1e-6), key
