"""FPN, global fusion, exact fusion with and without Maxout, side by side: ``python benchmarks/necks.py DATA``.

On the same backbone, recipe and number of epochs, several seeds each, every detector is trained on ``DATA`` (a data set
with boxes in the parts train, val and test) and measured on its test part. Printed are mean and range of AP and AP50
over the seeds, beside what each costs: parameters, operations, live peak memory, and its latency here, in turns.
The paper's ordering (CSPNet, arXiv 1911.11929, Table 2, COCO): 24.3 AP for global fusion, 26.4 for exact fusion.

    --weights   a weight file of the backbone to start from; default: from scratch
    --model     the backbone, if there are no weights; default shufflenet_v2_x1_0
    --epochs    default 25
    --seeds     default 3
    --size      default 416
    --head      anchors (default) or free
    --out       where the runs are kept; default: nowhere
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
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


def main() -> None:
    """Train all of them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default=fb.DEFAULT_DETECTOR)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--head", choices=("anchors", "free"), default="anchors")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = None if arguments.weights else arguments.model
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.out or Path(place)
        reached: dict[str, list[Any]] = {name: [] for name in ROWS}
        runs: dict[str, fb.Run] = {}
        for seed in range(arguments.seeds):  # seed by seed, so that what was interrupted is even
            for name, neck in ROWS.items():
                out = folder / f"{name.replace(' ', '-')}-{seed}"
                changes = {"epochs": arguments.epochs, "seed": seed, "size": arguments.size}
                runs[name] = fb.train(
                    arguments.data,
                    model,
                    weights=arguments.weights,
                    neck=neck,
                    head=arguments.head,
                    changes=changes,
                    out=out,
                    quiet=True,
                )
                reached[name].append(fb.evaluate(out, arguments.data, part="test", quiet=True))
                last = reached[name][-1]
                print(f"{name}, seed {seed}: AP {last.ap:.4f}, AP50 {last.ap50:.4f}", flush=True)
        networks = {name: fb.load(run.folder, torch.nn.Module) for name, run in runs.items()}
        entries = {entry.name: entry for entry in fb.compare(networks, size=arguments.size).groups[0].entries}
        print(
            "\n| neck | AP | AP50 | M parameters | billion operations | live MB | ms |\n|---|---|---|---|---|---|---|"
        )
        for name, found in reached.items():
            entry = entries[name]
            ap, ap50 = spread([one.ap for one in found]), spread([one.ap50 for one in found])
            numbers = f"{entry.params / 1e6:.3f} | {2 * entry.macs / 1e9:.3f} | {entry.peak_bytes / 1e6:.1f}"
            print(f"| {name} | {ap} | {ap50} | {numbers} | {entry.timing.median_ms:.2f} |")


if __name__ == "__main__":
    main()
