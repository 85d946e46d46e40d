"""What networks learn in little time, and what decided the defaults: ``python benchmarks/learning.py starts SHARED``.

``SHARED`` holds ``cifar10`` (sheets, as ``benchmarks/cifar10.py`` reads them), ``photos10`` (class folders in ``train``
and ``val``) and ``weights``. Each table has cells, each cell is one training; what came of it is a line in
``benchmarks/learning.jsonl``. Cells that are there are not trained again, so a long table fills over several calls.

    starts        the smallest network of every family from three kinds of initial weights: its authors', PyTorch's, and
                  He-normal ones by what is read; on CIFAR-10 (5,000 images, 2,000 held out) and on photographs
    fine-tuning   a small ShuffleNet V2 with ImageNet weights on photographs, one change of the recipe at a time
    scratch       the same network from its authors' initial weights, on CIFAR-10 and on photographs, likewise
    optimizers    the smallest network of every family, learned with SGD, AdamW and Muon on photographs

    --minutes     begin no cell after these; default: until all are there
    --processes   cells side by side, one thread each; default 2. Accuracies do not depend on it; times do
    --seeds       of each cell; default 3
    --only        cells whose name and column, as in "lr 0.1, photos", hold this text
    --print       only print the table

Printed are means of the held-out top-1 in percent, with the lowest and highest seed.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from cifar10_folder import write_images
from torch import nn

import featherbone as fb
from featherbone.layers import as_pytorch, he_normal
from featherbone.models import stem_stride_for

LEDGER = Path(__file__).with_name("learning.jsonl")
COMMON = {"precision": "f32", "channels_last": True, "workers": 0}
STARTS: Mapping[str, Callable[[nn.Module], None]] = {"authors": lambda _: None, "torch": as_pytorch, "he": he_normal}


def families() -> dict[str, fb.Spec]:
    """Return the smallest network of every family; where that is large, it has fewer layers or maps."""
    rows = {
        "densenet": replace(fb.spec("densenet_bc100_k12_cifar"), layers=(6, 6, 6)),  # type: ignore[call-arg]
        "peleenet": fb.spec("peleenet"),
        "vovnet": fb.spec("vovnet27_slim"),
        "vovnet_v2": fb.spec("vovnet_v2_19_slim_dw"),
        "cspresnet": replace(fb.spec("cspresnet50"), depths=(1, 1, 1, 1)),  # type: ignore[call-arg]
        "resnet": replace(fb.spec("resnet50"), depths=(1, 1, 1, 1)),  # type: ignore[call-arg]
        "cspdarknet_yolox": fb.spec("cspdarknet_nano.yolox"),
        "cs3darknet": fb.spec("cs3darknet_s.timm"),
        "cspnext": fb.spec("cspnext_tiny.timm"),
        "shufflenet_v1": fb.spec("shufflenet_v1_g3_x0_5"),
        "shufflenet_v2": fb.spec("shufflenet_v2_x0_5"),
        "rdnet": replace(  # type: ignore[call-arg]
            fb.spec("rdnet_tiny"), growth_rates=(16, 16, 16, 24), shrinks=(True, True, True), stem_channels=24
        ),
    }
    return {name: replace(row, num_classes=10) for name, row in rows.items()}


@dataclass(frozen=True)
class Cell:
    """A training.

    Attributes:
        table: the table that it is of.
        name: its row of the table.
        column: what it is trained on, or from.
        seed: of the recipe.
        changes: of the recipe.
    """

    table: str
    name: str
    column: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells it from others."""
        return self.table, self.name, self.column, self.seed


# what is learned from: the recipe, the side of the input, and changes that make a cell take about a minute; SGD and its
# rates are those of the first cells, whatever the recipes have now
SETS: Mapping[str, tuple[str, int, dict[str, Any]]] = {
    "photos": ("photos", 112, {"epochs": 4, "batch_size": 32, "optimizer": "sgd", "lr": 0.05}),
    "cifar10": ("small", 32, {"epochs": 3, "batch_size": 64, "optimizer": "sgd", "lr": 0.1}),
}
# one change each
FINE_TUNING: Mapping[str, Mapping[str, Any]] = {
    "lr 0.05": {"lr": 0.05},
    "lr 0.02": {"lr": 0.02},
    "lr 0.01": {"lr": 0.01},
    "lr 0.005": {"lr": 0.005},
    "lr 0.002": {"lr": 0.002},
    "lr 0.001": {"lr": 0.001},
    "lr 0.005, layer_decay 0.7": {"lr": 0.005, "layer_decay": 0.7},
    "lr 0.01, layer_decay 0.7": {"lr": 0.01, "layer_decay": 0.7},
    "lr 0.02, layer_decay 0.5": {"lr": 0.02, "layer_decay": 0.5},
    "lr 0.005, freeze_epochs 1": {"lr": 0.005, "freeze_epochs": 1},
    "lr 0.005, crop_min 0.5": {"lr": 0.005, "crop_min": 0.5},
    "lr 0.005, crop_min 0.1": {"lr": 0.005, "crop_min": 0.1},
    "lr 0.005, no label smoothing": {"lr": 0.005, "label_smoothing": 0.0},
    "lr 0.005, weight_decay 0.0001": {"lr": 0.005, "weight_decay": 1e-4},
    "lr 0.005, ema_decay 0.98": {"lr": 0.005, "ema_decay": 0.98},
    "lr 0.005, mixup 0.2": {"lr": 0.005, "mixup": 0.2},
    "lr 0.005, rand_augment 9": {"lr": 0.005, "rand_augment": 9},
    "lr 0.005, train_size 0.6 to 1": {"lr": 0.005, "train_size": (0.6, 1.0)},
    "lr 0.005, train_size 0.86 to 0.86": {"lr": 0.005, "train_size": (0.86, 0.86)},
    "lr 0.005, batch_size 16": {"lr": 0.005, "batch_size": 16},
    "muon 0.01": {"optimizer": "muon", "lr": 0.01},
    "muon 0.005": {"optimizer": "muon", "lr": 0.005},
    "muon 0.002": {"optimizer": "muon", "lr": 0.002},
    "adamw 0.001": {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.05},
    "adamw 0.0005": {"optimizer": "adamw", "lr": 0.0005, "weight_decay": 0.05},
    "adamw 0.0002": {"optimizer": "adamw", "lr": 0.0002, "weight_decay": 0.05},
}
# the same, from initial weights
SCRATCH: Mapping[str, Mapping[str, Any]] = {
    "train_size 0.6 to 1": {"train_size": (0.6, 1.0)},
    "train_size 0.6 to 0.86": {"train_size": (0.6, 0.86)},
    "train_size 0.86 to 0.86": {"train_size": (0.86, 0.86)},
    "train_size 0.72 to 0.72": {"train_size": (0.72, 0.72)},
    "lr 0.2": {"lr": 0.2},
    "lr 0.1": {"lr": 0.1},
    "lr 0.05": {"lr": 0.05},
    "lr 0.025": {"lr": 0.025},
    "muon 0.2": {"optimizer": "muon", "lr": 0.2},
    "muon 0.1": {"optimizer": "muon", "lr": 0.1},
    "muon 0.05": {"optimizer": "muon", "lr": 0.05},
    "muon 0.025": {"optimizer": "muon", "lr": 0.025},
    "muon 0.05, momentum 0.6": {"optimizer": "muon", "lr": 0.05, "momentum": 0.6},
    "ema_decay 0.99": {"ema_decay": 0.99},
    "crop_min 0.5": {"crop_min": 0.5},
    "crop_min 0.08": {"crop_min": 0.08},
    "no label smoothing": {"label_smoothing": 0.0},
    "rand_augment 5": {"rand_augment": 5},
    "rand_augment 9": {"rand_augment": 9},
    "mixup 0.2": {"mixup": 0.2},
    "cutmix 1": {"cutmix": 1.0},
    "random_erasing 0.25": {"random_erasing": 0.25},
    "weight_decay 0.001": {"weight_decay": 1e-3},
    "weight_decay 0.0001": {"weight_decay": 1e-4},
    "schedule linear": {"schedule": "linear"},
    "warmup 0.3": {"warmup": 0.3},
    "batch_size 128": {"batch_size": 128},
    "batch_size 16": {"batch_size": 16},
    "adamw 0.004": {"optimizer": "adamw", "lr": 0.004, "weight_decay": 0.05},
    "adamw 0.002": {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.05},
    "adamw 0.001": {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.05},
}
LONGER: Mapping[str, dict[str, Any]] = {"photos": {"epochs": 12}, "cifar10": {"epochs": 10}}


def starts(seeds: int) -> Iterator[Cell]:
    """Yield families x initial weights x data, one seed of all before the next."""
    for seed in range(seeds):
        for data in SETS:
            for family in families():
                for start in STARTS:
                    yield Cell("starts", f"{family} {start}", data, seed)


def fine_tuning(seeds: int) -> Iterator[Cell]:
    """Yield the changes of the recipe for trained weights."""
    for seed in range(seeds):
        for name, changes in FINE_TUNING.items():
            yield Cell("fine-tuning", name, "photos, ImageNet weights", seed, changes)


def scratch(seeds: int) -> Iterator[Cell]:
    """Yield the changes of the recipe for initial weights."""
    for seed in range(seeds):
        for data, usual in LONGER.items():
            for name, changes in SCRATCH.items():
                yield Cell("scratch", name, data, seed, {**usual, **changes})


def optimizers(seeds: int) -> Iterator[Cell]:
    """Yield families x optimizers, on photographs."""
    for seed in range(seeds):
        for family in families():
            for lr in (0.05, 0.025):
                yield Cell("optimizers", f"{family} muon {lr}", "photos", seed, {"optimizer": "muon", "lr": lr})
            for lr in (0.1, 0.05):
                yield Cell("optimizers", f"{family} sgd {lr}", "photos", seed, {"lr": lr})
            changes = {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.05}
            yield Cell("optimizers", f"{family} adamw 0.002", "photos", seed, changes)


TABLES: Mapping[str, Callable[[int], Iterator[Cell]]] = {
    "starts": starts,
    "fine-tuning": fine_tuning,
    "scratch": scratch,
    "optimizers": optimizers,
}


def prepare(shared: Path, place: Path) -> None:
    """Write what cells read: CIFAR-10's first images of both splits, photographs, the small network's weights."""
    for split, sheets, name in (("train", 5, "train"), ("test", 2, "val")):
        write_images(shared / "cifar10", split, sheets, place / "cifar10" / name)
    (place / "photos").symlink_to(shared / "photos10", target_is_directory=True)
    weights = shared / "weights" / "shufflenetv2_tiny_imagenet_backbone.safetensors"
    model, _ = fb.import_weights("shufflenet_v2_x0_5", weights)
    how = fb.Preprocess(size=112, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), crop=0.875)
    fb.save(model, place / "imagenet.safetensors", preprocess=how)


def train(place: Path, cell: Cell) -> dict[str, Any]:
    """Return what came of a cell."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    data = cell.column.partition(",")[0]
    recipe, size, usual = SETS[data]
    with tempfile.TemporaryDirectory(dir=place) as folder:
        if cell.table != "fine-tuning":
            words = cell.name.split()
            family = words[0] if cell.table in ("starts", "optimizers") else "shufflenet_v2"
            start = words[1] if cell.table == "starts" else "authors"
            row = replace(families()[family], stem_stride=stem_stride_for(size))
            torch.manual_seed(cell.seed)
            model = row.build()
            STARTS[start](model)
            weights = Path(folder) / "start.safetensors"
            how = fb.Preprocess.usual(size, 3, crop=1.0 if size < 64 else 0.875)
            fb.save(model, weights, classes=tuple(map(str, range(10))), preprocess=how)
        else:
            weights = place / "imagenet.safetensors"
        begun = time.monotonic()
        run = fb.train(
            place / data,
            weights=weights,
            recipe=recipe,
            out=Path(folder) / "run",
            changes={**COMMON, **usual, "size": size, "seed": cell.seed, **cell.changes},
            quiet=True,
        )
        return {**asdict(cell), "top1": run.scores["top1"], "seconds": round(time.monotonic() - begun, 1)}


def ledger() -> list[dict[str, Any]]:
    """Return all that was trained."""
    return [json.loads(line) for line in LEDGER.read_text().splitlines()] if LEDGER.exists() else []


def fill(cells: list[Cell], shared: Path, processes: int, minutes: float) -> None:
    """Train the cells that are not in the ledger."""
    known = {(one["table"], one["name"], one["column"], one["seed"]) for one in ledger()}
    left = [cell for cell in cells if cell.key not in known]
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder, LEDGER.open("a") as lines:
        prepare(shared.resolve(), Path(folder))
        with multiprocessing.get_context("forkserver").Pool(processes) as pool:

            def waiting() -> Iterator[Cell]:
                yield from (cell for cell in left if time.monotonic() < end)

            # as many at a time as there are processes: what waits could not be called off
            queue = waiting()
            running = [pool.apply_async(train, (Path(folder), cell)) for cell in islice(queue, processes)]
            while running:
                done = running.pop(0).get()
                print(json.dumps(done), file=lines, flush=True)
                print(f"{done['top1']:.3f} {done['seconds']:4.0f} s  {done['name']}, {done['column']}, {done['seed']}")
                running += [pool.apply_async(train, (Path(folder), cell)) for cell in (next(queue, None),) if cell]


def table(name: str) -> str:
    """Return a table of the ledger: rows by columns, the mean of the seeds with their range."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in ledger():
        if one["table"] == name:
            found[one["name"]][one["column"]].append(100 * one["top1"])
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    lines = ["| " + " | ".join(["", *columns]) + " |", "|---|" + "---:|" * len(columns)]
    for row, values in found.items():
        cells = [
            f"{sum(v) / len(v):.1f} ({min(v):.1f} to {max(v):.1f}, {len(v)})" if (v := values.get(c)) else ""
            for c in columns
        ]
        lines.append("| " + " | ".join([row, *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Fill a table, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("shared", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--print", action="store_true", dest="only_print")
    arguments = parser.parse_args()
    if not arguments.only_print:
        if arguments.shared is None:
            parser.error("the folder with cifar10, photos10 and weights is missing")
        cells = [
            cell for cell in TABLES[arguments.table](arguments.seeds) if arguments.only in f"{cell.name}, {cell.column}"
        ]
        fill(cells, arguments.shared, arguments.processes, arguments.minutes)
    print(table(arguments.table))


if __name__ == "__main__":
    main()
