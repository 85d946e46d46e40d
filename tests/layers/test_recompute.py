"""Recomputation: the same gradients and statistics, in less memory."""

import copy
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.families import FAMILIES, SMALL, slow_but, thin
from helpers.reference import randomize
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import featherbone as fb

QUICK = ("densenet_bc100_k12_cifar", "csppeleenet", "cspdarknet_nano.yolox", "vovnet27_slim", "shufflenet_v1_g3_x0_5",
         "shufflenet_v2_x0_5")  # fmt: skip


def gradients(model: Any, x: Tensor, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model.zero_grad()
    model(x).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    """Compare gradients or buffers; differences are shares of the largest value of each."""
    assert list(found) == list(wanted)
    for key, tensor in wanted.items():
        scale = max(tensor.abs().max().item(), 1e-30)
        assert ((found[key] - tensor).abs().max() / scale).item() <= tolerance, key


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.double() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("name", slow_but(FAMILIES, SMALL))
def test_recomputation_changes_neither_gradients_nor_statistics(name: str) -> None:
    torch.manual_seed(0)
    plain = randomize(thin(name, drop_path=0.2).build().double()).train()
    again = fb.recompute(plain)
    assert list(again.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    wanted, found = gradients(plain, x), gradients(again, x)
    assert_close(found, wanted, 1e-10)
    assert_close(buffers(again), buffers(plain), 1e-12)  # running statistics and their counts: updated once


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["densenet_bc100_k12_cifar", "densenet121"])
def test_dense_blocks_are_recomputed_to_the_last_bit(name: str, order: torch.memory_format) -> None:
    torch.manual_seed(0)
    plain = randomize(thin(name).build()).train().to(memory_format=order)
    again = fb.recompute(plain)
    x = torch.randn(4, 3, 64, 64).to(memory_format=order)
    assert torch.equal(again(x), plain(x))
    wanted, found = gradients(plain, x), gradients(again, x)
    for key, gradient in wanted.items():
        assert torch.equal(found[key], gradient), key


@pytest.mark.parametrize("name", QUICK)
def test_recomputation_in_bfloat16_is_as_near_to_the_truth(name: str) -> None:
    torch.manual_seed(0)
    plain = randomize(thin(name).build()).train()
    for part in plain.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    again, exact = fb.recompute(plain), copy.deepcopy(plain).double()
    x = torch.randn(4, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = plain(x), again(x)
    assert torch.equal(*outputs)
    for output in (*outputs, exact(x.double())):
        output.double().square().sum().backward()
    ours, theirs, truth = (
        torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])
        for model in (again, plain, exact)
    )
    assert (ours - truth).norm() < 1.05 * (theirs - truth).norm()
    assert_close(buffers(again), buffers(plain), 1e-6)


def test_gradients_of_several_batches_add_up_and_every_batch_counts_once() -> None:
    torch.manual_seed(0)
    plain = thin("densenet_bc100_k12_cifar", dropout=0.2, drop_path=0.3).build().double().train()
    again = fb.recompute(plain)
    for model in (plain, again):
        torch.manual_seed(1)
        batches = torch.randn(3, 2, 3, 32, 32, dtype=torch.float64)
        for x in batches:
            model(x).square().sum().backward()
    wanted, found = ({k: p.grad for k, p in m.named_parameters() if p.grad is not None} for m in (plain, again))
    assert_close(found, wanted, 1e-10)
    assert_close(buffers(again), buffers(plain), 1e-12)
    counts = {int(b) for name, b in again.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {3}


def test_a_dense_block_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    plain = thin("densenet_bc100_k12_cifar").build().double().train()
    penalties = []
    for model in (plain, fb.recompute(plain)):
        x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        (slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        torch.autograd.backward(slope.square().sum())
        penalties.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert_close(penalties[1], penalties[0], 1e-9)


@pytest.mark.parametrize("changed", [{"momentum": None}, {"track_running_stats": False}, {"affine": False}])
def test_norms_of_other_kinds_are_recomputed_too(changed: dict[str, Any]) -> None:
    def layer(width: int) -> nn.Sequential:
        return nn.Sequential(nn.BatchNorm2d(width, **changed), nn.ReLU(), nn.Conv2d(width, 4, 3, padding=1))

    torch.manual_seed(0)
    plain = nn.Sequential(fb.Dense([layer(8), layer(12)])).double().train()
    again = fb.recompute(plain)
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    assert_close(gradients(again, x), gradients(plain, x), 1e-12)
    assert_close(buffers(again), buffers(plain), 1e-12)


def test_frozen_norms_stay_as_they_are() -> None:
    torch.manual_seed(0)
    plain = randomize(thin("densenet_bc100_k12_cifar").build().double()).train()
    for part in plain.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    again = fb.recompute(plain)
    before = buffers(again)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert_close(gradients(again, x), gradients(plain, x), 1e-12)
    assert_close(buffers(again), before, 0)


def test_a_batch_of_one_value_is_refused_as_it_is_without() -> None:
    model = fb.recompute(nn.Sequential(fb.Dense([fb.preconv(8, 4)]))).train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.randn(1, 8, 1, 1))


class Counted(TorchDispatchMode):
    """Counts what PyTorch runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops = Counter[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.ops[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def convolutions(model: nn.Module, x: Tensor) -> int:
    with Counted() as count:
        model(x).sum().backward()
    return count.ops["convolution"]


def bottlenecks(layers: int) -> list[nn.Sequential]:
    return [nn.Sequential(fb.preconv(24 + 4 * i, 16), fb.preconv(16, 4, 3)) for i in range(layers)]


def dropped(layers: int) -> list[nn.Sequential]:
    """DenseNet's layers where images are not augmented."""
    return [nn.Sequential(first, nn.Dropout(0.2), second, nn.Dropout(0.2)) for first, second in bottlenecks(layers)]


def two_ways(layers: int) -> list[fb.Parallel]:
    """PeleeNet's layers: norms stand after the convolutions."""
    widths = [24 + 4 * i for i in range(layers)]
    near = [nn.Sequential(fb.conv(c, 8), fb.conv(8, 2, 3)) for c in widths]
    far = [nn.Sequential(fb.conv(c, 8), fb.conv(8, 2, 3), fb.conv(2, 2, 3)) for c in widths]
    return [fb.Parallel(*ways) for ways in zip(near, far, strict=True)]


def wide(layers: int) -> list[nn.Sequential]:
    """RDNet's layers: what is inside is wider than what is read."""
    widths = [24 + 4 * i for i in range(layers)]
    return [
        nn.Sequential(nn.Conv2d(c, c, 3, padding=1, groups=c), fb.ChannelNorm(c), nn.Conv2d(c, 2 * c, 1), nn.GELU(),
                      nn.Conv2d(2 * c, 4, 1), fb.Scale(4, 0.5))
        for c in widths
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [bottlenecks, dropped, two_ways])
def test_no_convolution_of_a_dense_block_is_computed_twice(layers: Callable[[int], Sequence[nn.Module]]) -> None:
    plain = nn.Sequential(fb.Dense(layers(4))).train()
    x = torch.randn(2, 24, 8, 8, requires_grad=True)
    assert convolutions(fb.recompute(plain), x) == convolutions(plain, x) > 0


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


@pytest.mark.parametrize("layers", [bottlenecks, dropped, two_ways, wide])
def test_recomputation_makes_a_dense_blocks_memory_linear(layers: Callable[[int], Sequence[nn.Module]]) -> None:
    x = torch.randn(1, 24, 16, 16, requires_grad=True)

    def kept(model: Callable[[nn.Module], nn.Module], counts: Sequence[int]) -> list[int]:
        return [kept_bytes(model(nn.Sequential(fb.Dense(layers(n))).train()), x) for n in counts]

    plain, again = kept(lambda m: m, (16, 32, 64)), kept(fb.recompute, (16, 32, 64))
    assert plain[2] - plain[1] > 2.8 * (plain[1] - plain[0])  # quadratic: each doubling adds four times as much
    assert again[2] - again[1] < 2.2 * (again[1] - again[0])  # linear: twice as much
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
    assert_close({key.removeprefix("module."): gradient for key, gradient in found.items()}, wanted, 1e-9)
    assert_close(buffers(again.module), buffers(plain), 1e-12)


TWO_PROCESSES = """
import os, sys
import torch
from helpers.families import thin
from safetensors.torch import save_file
import featherbone as fb

name, folder = sys.argv[1:]
torch.set_num_threads(1)
child = os.fork()
rank = int(child == 0)
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(fb.recompute(thin(name).build().double().train()))
first, second = torch.randn(2, 2, 2, 3, 32, 32, dtype=torch.float64)[rank]
with model.no_sync():
    model(first).square().sum().backward()
model(second).square().sum().backward()
save_file({key: p.grad for key, p in model.module.named_parameters()}, f"{folder}/{rank}.safetensors")
torch.distributed.destroy_process_group()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_two_processes_agree_on_the_gradients_of_one(tmp_path: Path) -> None:
    name = "densenet_bc100_k12_cifar"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    call = [sys.executable, "-c", TWO_PROCESSES, name, str(tmp_path)]
    with subprocess.Popen(call, env=environment) as processes:
        torch.manual_seed(0)
        plain = thin(name).build().double().train()
        for batch in torch.randn(2, 2, 2, 3, 32, 32, dtype=torch.float64).flatten(0, 1):
            (plain(batch).square().sum() / 2).backward()  # the mean of the processes, the sum of their batches
        assert processes.wait(60) == 0
    wanted = {key: p.grad for key, p in plain.named_parameters() if p.grad is not None}
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert_close({key: found[key] for key in wanted}, wanted, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("densenet_bc100_k12_cifar", {}),
        ("peleenet", {"layers": (2, 1), "bottleneck": (1, 2)}),
    ],
)
def test_recomputation_compiles_for_training(name: str, columns: dict[str, Any]) -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    plain = thin(name, **columns).build().train()
    compiled: Any = torch.compile(fb.recompute(plain), backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 3, 64, 64)
    wanted, found = gradients(plain, x), gradients(compiled, x)
    assert_close({key.removeprefix("_orig_mod."): gradient for key, gradient in found.items()}, wanted, 1e-3)
    assert_close(
        {key.removeprefix("_orig_mod."): buffer for key, buffer in buffers(compiled).items()}, buffers(plain), 1e-5
    )
