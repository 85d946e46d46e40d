"""Train with every pair of a recipe's columns: ``python benchmarks/pairs.py pairs.jsonl``.

Three kinds of stripes, of which one has eight times as many images as the others, are told apart without a fault by a
small network and the usual recipe. So they must be with every pair of changes that a recipe allows: where one is not,
two columns are wrong together (as balanced class weights and label smoothing once were). A pair that falls short of 1.0
is tried from two more seeds. Each pair is a line in the file, and a stopped search goes on where it was. Printed are
the pairs that a recipe refuses, and those that fall short from all seeds; it fails if there are any of these.
``--sample 20`` takes that many pairs at random.
"""

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import featherbone as fb
from featherbone.models.densenet import DenseNetSpec

NETWORK = DenseNetSpec(growth_rate=8, layers=(1, 1), stem_channels=16, stem_stride=1, num_classes=3)
USUAL = {
    "epochs": 24,
    "batch_size": 8,
    "optimizer": "sgd",
    "momentum": 0.9,
    "lr": 0.05,
    "precision": "f32",
    "channels_last": True,
    "workers": 0,
}
SEEDS = 3
# a change each, strong enough to matter and not so strong that it alone keeps a network from learning
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "optimizer": {"optimizer": "adamw", "lr": 0.005},
    "muon": {"optimizer": "muon", "lr": 0.02},
    "schedule linear": {"schedule": "linear"},
    "schedule steps": {"schedule": "steps"},
    "no warmup": {"warmup": 0.0},
    "long warmup": {"warmup": 0.4},
    "batch_size 16": {"batch_size": 16},
    "weight_decay": {"weight_decay": 5e-3},
    "decay_norms": {"decay_norms": True},
    "no momentum": {"momentum": 0.0, "lr": 0.3},
    "clip_grad": {"clip_grad": 0.5},
    "ema_decay": {"ema_decay": 0.9},
    "no label_smoothing": {"label_smoothing": 0.0},
    "label_smoothing": {"label_smoothing": 0.3},
    "class_weights": {"class_weights": "balanced"},
    "crop_min": {"crop_min": 0.5},
    "shift": {"shift": 2},
    "flip": {"flip": 0.5},
    "rotation": {"rotation": 10.0},
    "translate": {"translate": 0.2},
    "rand_augment": {"rand_augment": 5},
    "random_erasing": {"random_erasing": 0.5},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 0.2},
    "crop_pct": {"crop_pct": 0.8},
    "freeze": {"freeze": ("stem",)},
    "freeze_epochs": {"freeze_epochs": 2},
    "layer_decay": {"layer_decay": 0.7},
    "teacher": {"teacher": True},
    "patience": {"patience": 6},
    "precision": {"precision": "bf16"},
}


def draw_stripes(root: Path) -> Path:
    """Write images of stripes that lie, stand or cross, at any place."""
    chance = np.random.default_rng(0)
    for split, counts in (("train", (80, 10, 10)), ("val", (16, 8, 8))):
        for name, count in zip(("lying", "standing", "crossed"), counts, strict=True):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                rows, columns = (np.arange(16) + chance.integers(0, 6)) % 6 < 3, (np.arange(16) % 6 < 3)
                columns = np.roll(columns, chance.integers(0, 6))
                lying, standing = (rows[:, None] | np.zeros(16, bool)), (columns[None] | np.zeros((16, 1), bool))
                mask = {"lying": lying, "standing": standing, "crossed": lying ^ standing}[name]
                pixels = np.where(mask[..., None], 190, 60) + chance.integers(-40, 40, (16, 16, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / name / f"{number:03}.png")
    return root


def pairs() -> Iterator[tuple[str, str]]:
    """Yield every change beside every other; the same column is not changed twice."""
    for one, other in combinations(CHANGES, 2):
        columns = CHANGES[one].keys() & CHANGES[other].keys()
        if columns <= {"lr"}:
            yield one, other


def attempt(place: Path, pair: tuple[str, str]) -> dict[str, Any]:
    """Train with two changes, from other seeds if need be; return the held-out top-1, or why a recipe refuses them."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    changes = {**USUAL, **CHANGES[pair[0]], **CHANGES[pair[1]]}
    given = [CHANGES[name]["lr"] for name in pair if "lr" in CHANGES[name]]
    changes["lr"] = min(given, default=USUAL["lr"])
    teacher = place / "teacher" if changes.pop("teacher", False) else None
    told: dict[str, Any] = {"pair": pair, "top1": []}
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory(dir=place) as out:
            try:
                run = fb.train(
                    place / "stripes",
                    NETWORK,
                    teacher=teacher,
                    out=Path(out) / "run",
                    changes={**changes, "seed": seed},
                    quiet=True,
                )
            except fb.InputError as error:
                return {**told, "refused": str(error)}
            told["top1"].append(run.scores["top1"])
        if told["top1"][-1] == 1.0:
            break
    return told


def search(ledger: Path, sample: int | None, processes: int) -> list[dict[str, Any]]:
    """Return what came of the pairs, those in the ledger as they stand there."""
    wanted = list(pairs())
    if sample is not None:
        wanted = random.Random(0).sample(wanted, sample)  # noqa: S311
    done = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    known = {tuple(one["pair"]) for one in done}
    with tempfile.TemporaryDirectory() as folder, ledger.open("a") as lines:
        place = Path(folder)
        draw_stripes(place / "stripes")
        torch.set_num_threads(1)
        fb.train(place / "stripes", NETWORK, out=place / "teacher", changes={**USUAL, "seed": 3}, quiet=True)
        begun, left = time.monotonic(), [pair for pair in wanted if pair not in known]
        with multiprocessing.get_context("forkserver").Pool(processes) as pool:
            for number, one in enumerate(pool.imap_unordered(partial(attempt, place), left), 1):
                done.append(one)
                print(json.dumps(one), file=lines, flush=True)
                if number % 50 == 0:
                    print(f"{number:,} of {len(left):,} in {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return [one for one in done if tuple(one["pair"]) in set(wanted)]


def main() -> int:
    """Print what is refused and what falls short; 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    found = search(arguments.ledger, arguments.sample, arguments.processes)
    refused = [one for one in found if "refused" in one]
    short = sorted((one for one in found if one["top1"] and max(one["top1"]) < 1.0), key=lambda one: max(one["top1"]))
    for one in refused:
        print(f"refused  {' + '.join(one['pair'])}: {one['refused']}")
    for one in short:
        print(f"{max(one['top1']):.3f}    {' + '.join(one['pair'])}")
    print(f"{len(found)} pairs: {len(refused)} refused, {len(short)} fall short, the others reach 1.0")
    return bool(short)


if __name__ == "__main__":
    sys.exit(main())
