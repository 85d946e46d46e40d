"""FPN, global fusion, exact fusion with and without Maxout, side by side: ``python benchmarks/necks.py DATA``.

On the same backbone, recipe, precision and number of epochs, several seeds each, every detector is trained on ``DATA``
(a data set with boxes in the splits train, val and test) and measured on val, of which nothing is learned and by which
nothing is chosen, and on test. Printed are mean and range over the seeds, beside what each costs: parameters,
operations, live peak memory, and its latency here, in turns, none of which depends on training.
The paper's ordering (CSPNet, arXiv 1911.11929, Table 2, COCO): 24.3 AP for global fusion, 26.4 for exact fusion.

    --weights   a weight file of the backbone to start from; default: from scratch
    --model     the backbone, if there are no weights; default shufflenet_v2_x1_0
    --epochs    default 40
    --seeds     default 3; 0 prints the costs alone
    --size      default 416
    --head      anchors (default), as in the paper, or free
    --precision f32 (default) or bf16, for all alike
    --jobs      trainings at a time, each in a process of its own; default 1
    --workers   loader processes of each; default 1
    --out       where the runs are kept; default: nowhere
    --no-costs  leave the costs out
    --classes   of what the costs are, default 3
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


COLUMNS = ("val AP", "val AP50", "test AP", "test AP50")
# YOLOv3's for COCO, fine to coarse: costs do not depend on their sizes
ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))


def trained(given: argparse.Namespace, folder: Path, name: str, seed: int) -> tuple[str, int, list[float]]:
    """Train one of them, and return what it reaches: the numbers of ``COLUMNS``."""
    out = folder / f"{name.replace(' ', '-')}-{seed}"
    changes = {"epochs": given.epochs, "seed": seed, "size": given.size, "workers": given.workers}
    run = fb.train(
        given.data,
        None if given.weights else given.model,
        weights=given.weights,
        neck=ROWS[name],
        head=given.head,
        changes={**changes, "precision": given.precision, "channels_last": True},
        out=out,
        quiet=True,
    )
    result: Any = fb.evaluate(out, given.data, split="test", quiet=True)
    return name, seed, [run.scores["ap"], run.scores["ap50"], result.ap, result.ap50]


def all_trained(given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int, list[float]]]:
    """Yield what every neck reaches with every seed; seed by seed, so that what was interrupted is even."""
    runs = [(name, seed) for seed in range(given.seeds) for name in ROWS]
    if given.jobs == 1:
        yield from (trained(given, folder, *run) for run in runs)
        return
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        yield from (done.result() for done in as_completed(pool.submit(trained, given, folder, *run) for run in runs))


def costs(given: argparse.Namespace) -> dict[str, list[str]]:
    """Return the cells that say what each of them costs."""
    backbone = fb.read_header(given.weights).spec if given.weights else fb.spec(given.model)
    assert isinstance(backbone, fb.Spec)
    rows = {
        name: fb.DetectorSpec(
            backbone=backbone,
            neck=neck,
            head=given.head,
            num_classes=given.classes,
            anchors=ANCHORS if given.head == "anchors" else (),
        )
        for name, neck in ROWS.items()
    }
    found = fb.compare({name: row.build() for name, row in rows.items()}, size=given.size)
    return {
        entry.name: [
            f"{entry.params / 1e6:.3f}",
            f"{2 * entry.macs / 1e9:.3f}",
            f"{entry.peak_bytes / 1e6:.1f}",
            f"{entry.timing.median_ms:.2f}",
        ]
        for entry in found.groups[0].entries
    }


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
    parser.add_argument("--classes", type=int, default=3)
    given = parser.parse_args()
    if given.seeds and not given.data.exists():
        parser.error(f"DATA={given.data} is not there: a data set with boxes in the splits train, val and test")
    reached: dict[str, list[list[float]]] = {name: [] for name in ROWS}
    with tempfile.TemporaryDirectory() as place:
        for name, seed, scores in all_trained(given, given.out or Path(place)):
            reached[name].append(scores)
            shown = ", ".join(f"{column} {score:.4f}" for column, score in zip(COLUMNS, scores, strict=True))
            print(f"{name}, seed {seed}: {shown}", flush=True)
    cost = {name: [] for name in ROWS} if given.no_costs else costs(given)
    scored = COLUMNS if given.seeds else ()
    titles = ["neck", *scored, *([] if given.no_costs else ["M parameters", "billion operations", "live MB", "ms"])]
    print("\n| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for name, found in reached.items():
        print(
            "| "
            + " | ".join([name, *(spread(list(values)) for values in zip(*found, strict=True)), *cost[name]])
            + " |"
        )


if __name__ == "__main__":
    main()
