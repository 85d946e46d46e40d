"""Training memory against depth, plain and recomputed, and what recomputing costs: ``python benchmarks/memory.py``.

DenseNet-BC (k = 12) on CIFAR's images. Memory is the most that PyTorch's allocator held during a training step beyond
weights and images, beside what ``fb.cost`` predicts; what is fitted is that without the gradients of the weights. Times
are those of whole steps, plain and recomputed in turn; the extra is the median of each turn's own ratio.

    --depths  default: 40,70,100,130,160,190,220,250
    --batch   images a step; default 16
    --rounds  turns of each depth; default 9
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import nn

import featherbone as fb
from featherbone.cost.measurement import machine, measured_peak, usable_cores
from featherbone.cost.measurement.setting import Setting

Step = Callable[[], None]


@dataclass(frozen=True)
class Row:
    """One depth: megabytes of both ways as (measured, predicted), those of gradients, extra time and its tenths."""

    depth: int
    plain: tuple[float, float]
    recomputed: tuple[float, float]
    gradients: float
    step_ms: float
    extra: tuple[float, float, float]

    def line(self) -> str:
        """Return the row of the table."""
        middle, low, high = self.extra
        cells = (
            f"{self.depth}",
            *(f"{measured:.1f} ({predicted:.1f})" for measured, predicted in (self.plain, self.recomputed)),
            f"{self.plain[0] / self.recomputed[0]:.1f}",
            f"{self.step_ms:.0f}",
            f"{middle:+.1%} ({low:+.1%} to {high:+.1%})",
        )
        return "| " + " | ".join(cells) + " |"


def network(depth: int) -> nn.Module:
    """Return DenseNet-BC with k = 12, which has as many layers in each of its three blocks."""
    row = fb.spec("densenet_bc100_k12_cifar")
    return replace(row, layers=((depth - 4) // 6,) * 3).build()  # type: ignore[call-arg]


def training(model: nn.Module, setting: Setting) -> Step:
    """Return a training step without the optimizer's part, from gradients that are not there."""
    images = setting.image(3)
    labels = torch.arange(setting.batch, device=setting.device) % 10

    def step() -> None:
        model.zero_grad(set_to_none=True)
        torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))

    return step


def measured(depth: int, setting: Setting, rounds: int) -> Row:
    """Measure one depth."""
    torch.manual_seed(0)
    plain = setting.prepared(network(depth)).train()
    models = (plain, fb.recompute(plain))
    steps = [training(model, setting) for model in models]
    peaks = []
    for model, step in zip(models, steps, strict=True):
        step()
        model.zero_grad(set_to_none=True)
        predicted = fb.cost(model, setting.size, batch=setting.batch, training=True).training_peak
        found = measured_peak(step, setting)
        assert predicted
        assert found
        image = 4 * 3 * setting.size[0] * setting.size[1] * setting.batch  # was there before
        peaks.append((found / 1e6, (predicted.bytes - image) / 1e6))
    times = [[timed(step) for step in steps] for _ in range(rounds)]
    ratios = [again / before - 1 for before, again in times]
    middle, low, high = (float(x) for x in np.percentile(ratios, (50, 10, 90)))
    gradients = 4e-6 * sum(p.numel() for p in plain.parameters())
    plain_ms = 1e3 * statistics.median(before for before, _ in times)
    return Row(depth, peaks[0], peaks[1], gradients, plain_ms, (middle, low, high))


def timed(step: Step) -> float:
    """Return the seconds that a step takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def growth(depths: Sequence[int], values: Sequence[float]) -> str:
    """Say how values grow: p of the best fit to ``depth ** p``, and the share of the square in the deepest one.

    That is of the best fit to ``a + b * depth + c * depth ** 2``: what grows linearly hides the square from p.
    """
    power = np.polyfit(np.log(depths), np.log(values), 1)[0]
    square = np.polyfit(depths, values, 2)[0] * depths[-1] ** 2 / values[-1]
    return f"grow with depth to the {power:.2f}; what grows with its square makes {square:.0%} at L = {depths[-1]}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", default="40,70,100,130,160,190,220,250")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=usable_cores())
    given = parser.parse_args()
    setting = Setting(size=(32, 32), batch=given.batch, threads=given.threads)
    torch.set_num_threads(setting.threads)
    print(asdict(machine()), setting, flush=True)
    columns = ["L", "plain, MB (predicted)", "recomputed, MB (predicted)", "times less", "plain step, ms", "extra time"]
    print("| " + " | ".join(columns) + " |\n|" + "---:|" * len(columns))
    rows = []
    for depth in map(int, given.depths.split(",")):
        rows.append(measured(depth, setting, given.rounds))
        print(rows[-1].line(), flush=True)
    depths = [row.depth for row in rows]
    for name in ("plain", "recomputed"):
        activations = [getattr(row, name)[0] - row.gradients for row in rows]
        print(f"{name}: activations {growth(depths, activations)}")
    print(f"extra time, median of the depths: {statistics.median(row.extra[0] for row in rows):+.1%}")


if __name__ == "__main__":
    main()
