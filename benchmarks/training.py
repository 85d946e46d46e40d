"""Training steps as featherbone takes them by default beside the peers' defaults: ``python benchmarks/training.py``.

For one network of each family: the peer's model (torchvision, timm, pytorchcv) trained as its own reference script does
unasked, which is float32 with channels first and plain SGD; and ours, computed as a short measurement chose, with the
optimizer that ``train`` makes. Steps (forward, loss,
backward, update) are taken in turns in one run; printed are medians, images a second, and times as fast.

    --networks   some of the names below, by comma; default: all
    --batch      images a step; default 16
    --size       pixels; default 224
    --steps      of each; default 7
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from statistics import median

import timm
import torch
import torch.nn.functional as F
import torchvision
from pytorchcv.model_provider import get_model
from torch import Tensor, nn

import featherbone as fb
from featherbone.training.autotune import CANDIDATES, Compute, fastest, memory_format
from featherbone.training.optimizer import optimizer_for

PAIRS: Mapping[str, tuple[str, Callable[[], nn.Module]]] = {
    "densenet121": ("torchvision", torchvision.models.densenet121),
    "shufflenet_v1_g3_x1_0": ("pytorchcv", lambda: get_model("shufflenet_g3_w1")),
    "shufflenet_v2_x1_0": ("torchvision", torchvision.models.shufflenet_v2_x1_0),
    "peleenet": ("pytorchcv", lambda: get_model("peleenet")),
    "vovnet39": ("pytorchcv", lambda: get_model("vovnet39")),
    "vovnet_v2_39.timm": ("timm", lambda: timm.create_model("ese_vovnet39b")),
    "cspresnet50": ("timm", lambda: timm.create_model("cspresnet50")),
    "cspdarknet53": ("timm", lambda: timm.create_model("cspdarknet53")),
    "rdnet_tiny": ("timm", lambda: timm.create_model("rdnet_tiny")),
}


def stepper(
    model: nn.Module, compute: Compute, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer
) -> Callable[[], float]:
    """Return a function that takes one training step and returns its seconds."""
    precision, channels_last = compute
    order = memory_format(channels_last)
    model.to(memory_format=order).train()
    device = images.device.type

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(model(images.to(memory_format=order)), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        loss.item()
        return time.perf_counter() - start

    return step


def compared(name: str, batch: int, size: int, steps: int, device: torch.device) -> str:
    """Return the table's line of a network."""
    peer, make = PAIRS[name]
    images, labels = (
        torch.randn(batch, 3, size, size, device=device),
        torch.zeros(batch, dtype=torch.long, device=device),
    )
    torch.manual_seed(0)
    ours = fb.create_model(name).to(device)
    choice = fastest(ours, (batch, 3, size, size), CANDIDATES, device)
    theirs_model = make().to(device)
    plain = torch.optim.SGD(theirs_model.parameters(), lr=0.01, momentum=0.9)
    first = stepper(theirs_model, ("f32", False), images, labels, plain)
    second = stepper(ours, choice, images, labels, optimizer_for(ours, fb.Recipe(lr=0.01)))
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(steps + 1):
        for seconds, step in zip(times, (first, second), strict=True):
            spent = step()
            if turn:  # the first one warms up
                seconds.append(spent)
    theirs, own = map(median, times)
    form = f"{choice[0]} channels-{'last' if choice[1] else 'first'}"
    return f"| {name} | {peer} | {theirs:.2f} | {own:.2f} | {batch / own:.1f} | {form} | {theirs / own:.2f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(PAIRS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=7)
    arguments = parser.parse_args()
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, batch {arguments.batch}")
    print("| network | peer | its step (s) | ours (s) | images a second | computed as | times as fast |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.networks.split(","):
        print(compared(name, arguments.batch, arguments.size, arguments.steps, device), flush=True)


if __name__ == "__main__":
    main()
