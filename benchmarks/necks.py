"""FPN, global fusion, exact fusion with and without Maxout, side by side: ``python benchmarks/necks.py DATA``.

On the same backbone, recipe, precision and number of epochs, several seeds each, every detector is trained on ``DATA``
(a data set with boxes in the parts train, val and test) and measured on its test part. Printed are mean and range of AP
and AP50 over the seeds, beside what each costs: parameters, operations, live peak memory, and its latency here, in
turns. The paper's ordering (CSPNet, arXiv 1911.11929, Table 2, COCO): 24.3 AP for global fusion, 26.4 for exact fusion.

    --weights   a weight file of the backbone to start from; default: from scratch
    --model     the backbone, if there are no weights; default shufflenet_v2_x1_0
    --epochs    default 40
    --seeds     default 3
    --size      default 416
    --head      anchors (default), as in the paper, or free
    --precision f32 (default) or bf16, for all alike
    --jobs      trainings at a time, each in a process of its own; default 1
    --workers   loader processes of each; default 1
    --out       where the runs are kept; default: nowhere
    --no-costs  leave the costs out
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import featherbone as fb

ROWS: Mapping[str, fb.NeckSpec] = {
    "FPN": fb.neck_spec("fpn"),
    "GFM": fb.neck_spec("gfm"),
    "EFM": fb.neck_spec("efm"),
    "EFM without Maxout": replace(fb.neck_spec("efm"), maxout=1),
}


def spread(values: list[float]) -> str:
    """Return mean and range of shares, in percent."""
    return f"{100 * mean(values):.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def trained(given: argparse.Namespace, folder: Path, name: str, seed: int) -> tuple[str, int, float, float]:
    """Train one of them, and return what it reaches on the test part."""
    out = folder / f"{name.replace(' ', '-')}-{seed}"
    changes = {"epochs": given.epochs, "seed": seed, "size": given.size, "workers": given.workers}
    fb.train(
        given.data,
        None if given.weights else given.model,
        weights=given.weights,
        neck=ROWS[name],
        head=given.head,
        changes={**changes, "precision": given.precision, "channels_last": True},
        out=out,
        quiet=True,
    )
    result: Any = fb.evaluate(out, given.data, part="test", quiet=True)
    return name, seed, result.ap, result.ap50


def all_trained(given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int, float, float]]:
    """Yield what every neck reaches with every seed; seed by seed, so that what was interrupted is even."""
    runs = [(name, seed) for seed in range(given.seeds) for name in ROWS]
    if given.jobs == 1:
        yield from (trained(given, folder, *run) for run in runs)
        return
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        yield from (done.result() for done in as_completed(pool.submit(trained, given, folder, *run) for run in runs))


def main() -> None:
    """Train all of them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default=fb.DEFAULT_DETECTOR)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--head", choices=("anchors", "free"), default="anchors")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--no-costs", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.out or Path(place)
        reached: dict[str, list[tuple[float, float]]] = {name: [] for name in ROWS}
        for name, seed, ap, ap50 in all_trained(given, folder):
            reached[name].append((ap, ap50))
            print(f"{name}, seed {seed}: AP {ap:.4f}, AP50 {ap50:.4f}", flush=True)
        networks = {name: fb.load(folder / f"{name.replace(' ', '-')}-0", torch.nn.Module) for name in ROWS}
    costs = {} if given.no_costs else {e.name: e for e in fb.compare(networks, size=given.size).groups[0].entries}
    print("\n| neck | AP | AP50 | M parameters | billion operations | live MB | ms |\n|---|---|---|---|---|---|---|")
    for name, found in reached.items():
        cells = [name, spread([ap for ap, _ in found]), spread([ap50 for _, ap50 in found])]
        if entry := costs.get(name):
            cells += [f"{entry.params / 1e6:.3f}", f"{2 * entry.macs / 1e9:.3f}", f"{entry.peak_bytes / 1e6:.1f}"]
            cells += [f"{entry.timing.median_ms:.2f}"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
