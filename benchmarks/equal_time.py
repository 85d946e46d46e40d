"""What is learned in equal time: ours by default beside the peers' own training scripts, on this machine's processor.

    python benchmarks/equal_time.py SHARED --scripts SCRIPTS --python PYTHON --cache CACHE

``SHARED`` holds ``cifar10`` (sheets, as ``benchmarks/cifar10.py`` reads them), ``photos10`` (class folders in ``train``
and ``val``) and ``weights``. A cell is one training; what came of it is a line in ``benchmarks/equal_time.jsonl``, as
is the time of an epoch, measured once. Cells that are there are not trained again, so a long table fills over several
calls.

    --scripts   a folder with the peers' scripts, which are no part of this project:
                SCRIPTS/torchvision  references/classification of pytorch/vision (BSD-3-Clause) at commit
                                     e2aff7e9de65f7b6198db1dfece5a09d01f73831
                SCRIPTS/timm         train.py of huggingface/pytorch-image-models (Apache-2.0) at tag v1.0.28
    --python    an interpreter with torch, torchvision, timm==1.0.28 and ultralytics (AGPL-3.0; we do not depend on it)
    --cache     a folder for CIFAR-10's images as PNG files, kept between calls
    --minutes   begin no cell after these; default: until all are there
    --seeds     of each cell of 3 and 5 minutes; default 3
    --only      cells whose name holds this text
    --print     only print the tables

Every trainer has its own defaults, of which only these are set: the data (one folder of images for all), the device,
the side of images, the seed, where to write, and the length. What that means:

- The clock runs from the end of all imports to the end of the script: it holds the reading of images, the validation
  that each does after every epoch, and what is written.
- We and Ultralytics know a budget of time, and are given it; ours is for training, so that what comes before and after,
  measured once, is taken off. The others know epochs: as many as fit by the time of the
  second of two, at least one. The second table says how long all took indeed: the clock stands still for nobody, so
  nothing else should run beside it.
- What a default counts in epochs of a longer run: torchvision's script divides its learning rate by ten after 30 of 90
  epochs; here, after a third of the run, which favours it. timm's warms up for 5 of 300; where that would be half of
  the run or more, it is the same share, which is none. Without that it would never leave its warm-up.
- Loader processes are as many as cores, as torch advises; torchvision's default of 16 and timm's of 4 suit larger
  machines.
- On a processor, Ultralytics computes with one thread less than there are cores, reads images in that thread, and makes
  the side a multiple of 32 (128 for 112). It evaluates averaged weights. It has none of the other networks: the one
  here is of a like size.
- Images of CIFAR-10 are 32 pixels for all. Our networks then have a stem of stride 1, the peers' are as their scripts
  build them; crops of torchvision and timm keep 8 % of the area or more, whatever the size.
- "from weights" is ImageNet's backbone of a small ShuffleNet V2 (``shufflenetv2_tiny_imagenet_backbone``), with its
  last convolution and classifier new, for both. ``benchmarks/peer_weights.py`` makes torchvision's form of it. Its
  script has no recipe for fine-tuning but the default.

Printed are the last epoch's held-out top-1 in percent, mean, lowest and highest seed, and how many; then seconds used,
as a share of the budget, and images a second, in whole epochs with their validation.
"""

import argparse
import csv
import json
import multiprocessing
import os
import re
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cifar10_folder import write_images
from peer_weights import torchvision_state
from safetensors.torch import load_file, save_file

import featherbone as fb

LEDGER = Path(__file__).with_name("equal_time.jsonl")
PEER = Path(__file__).with_name("peer.py")
WEIGHTS = "shufflenetv2_tiny_imagenet_backbone.safetensors"
# a column of the data: its folder, the side of its images, and of what a centre crop is cut
DATA: Mapping[str, tuple[str, int, int]] = {
    "photos 112": ("photos", 112, 128),
    "photos 160": ("photos", 160, 183),
    "cifar10": ("cifar10", 32, 32),
}
ROWS = (
    ("featherbone", "shufflenet_v2_x0_5"),
    ("torchvision", "shufflenet_v2_x0_5"),
    ("featherbone", "vovnet_v2_19_slim_dw"),
    ("timm", "ese_vovnet19b_slim_dw"),
    ("ultralytics", "yolo11n-cls"),
)
TRAIN_IMAGES = {"photos": 2_000, "cifar10": 50_000}
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Cell:
    """A training.

    Attributes:
        trainer: whose script.
        network: under its trainer's name.
        data: a column of ``DATA``.
        start: "scratch", or "weights".
        minutes: the budget.
        seed: of the script.
    """

    trainer: str
    network: str
    data: str
    start: str
    minutes: float
    seed: int

    @property
    def name(self) -> str:
        """What ``--only`` looks in."""
        return f"{self.trainer} {self.network}, {self.column}, seed {self.seed}"

    @property
    def column(self) -> str:
        """Its column of the tables."""
        return f"{self.data}, from {self.start}, {self.minutes:g} minutes"


@dataclass(frozen=True)
class Place:
    """Where things are.

    Attributes:
        shared: the data and weights.
        scripts: the peers' scripts.
        python: the peers' interpreter.
        cache: images and weights in the forms that trainers read.
    """

    shared: Path
    scripts: Path
    python: Path
    cache: Path


@dataclass(frozen=True)
class Outcome:
    """What a training said.

    Attributes:
        seconds: from the end of the imports to the end.
        ends: of the epochs, in seconds from the same beginning.
        top1: held-out, of the epochs, 0 to 1.
        versions: of what computed it.
    """

    seconds: float
    ends: tuple[float, ...]
    top1: tuple[float, ...]
    versions: str


def cells(seeds: int) -> Iterator[Cell]:
    """Yield all cells, one seed of all before the next, the long ones last."""
    for seed in range(seeds):
        for trainer, network in ROWS[:2]:
            yield Cell(trainer, network, "photos 112", "weights", 3, seed)
        for data in DATA:
            for trainer, network in ROWS:
                yield Cell(trainer, network, data, "scratch", 5, seed)
    for data in DATA:
        for trainer, network in ROWS:
            yield Cell(trainer, network, data, "scratch", 15, 0)


def prepare(place: Place) -> None:
    """Write what trainers read, where it is not there yet."""
    place.cache.mkdir(parents=True, exist_ok=True)
    if not (place.cache / "cifar10").exists():
        with tempfile.TemporaryDirectory(dir=place.cache) as folder:  # half a data set must never look like a whole one
            for split, sheets, name in (("train", 50, "train"), ("test", 10, "val")):
                write_images(place.shared / "cifar10", split, sheets, Path(folder) / "cifar10" / name)
            (Path(folder) / "cifar10").rename(place.cache / "cifar10")
    if not (place.cache / "photos").exists():
        (place.cache / "photos").symlink_to(place.shared / "photos10", target_is_directory=True)
    for data in TRAIN_IMAGES:  # Ultralytics writes lists of images beside the splits
        for split in ("train", "val"):
            link = place.cache / "ultralytics" / data / split
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((place.cache / data / split).resolve(), target_is_directory=True)
    weights = place.shared / "weights" / WEIGHTS
    model, found = fb.import_weights("shufflenet_v2_x0_5", weights)
    assert found.preprocess is not None
    size = DATA["photos 112"][1]
    fb.save(model, place.cache / "ours.safetensors", preprocess=replace(found.preprocess, size=size, crop=0.875))
    save_file(torchvision_state(load_file(weights))[0], place.cache / "torchvision.safetensors")


def share_of(epochs: int, usual: int, of: int) -> int:
    """Return how many epochs are the share of a run that ``usual`` is of ``of``."""
    return round(epochs * usual / of)


def torchvision_arguments(place: Place, cell: Cell, length: Mapping[str, float], out: Path) -> list[str]:
    """Return those of ``references/classification/train.py``; the seed is set from outside."""
    data, size, resize = DATA[cell.data]
    epochs = int(length["epochs"])
    return [
        *("--data-path", str(place.cache / data), "--output-dir", str(out), "--device", "cpu"),
        *("--model", "from_weights" if cell.start == "weights" else cell.network),
        *("--train-crop-size", str(size), "--val-crop-size", str(size), "--val-resize-size", str(resize)),
        *("--epochs", str(epochs), "--lr-step-size", str(max(share_of(epochs, 30, 90), 1)), "--workers", str(CORES)),
    ]


def timm_arguments(place: Place, cell: Cell, length: Mapping[str, float], out: Path) -> list[str]:
    """Return those of ``train.py``."""
    data, size, _ = DATA[cell.data]
    epochs = int(length["epochs"])
    warmup = 5 if epochs > 10 else share_of(epochs, 5, 300)
    return [
        *("--data-dir", str(place.cache / data), "--val-split", "val", "--output", str(out), "--device", "cpu"),
        *("--model", cell.network, "--num-classes", "10", "--input-size", "3", str(size), str(size)),
        *(() if size > 32 else ("--crop-pct", "1.0")),
        *("--epochs", str(epochs), "--warmup-epochs", str(warmup), "--workers", str(CORES), "--seed", str(cell.seed)),
    ]


def ultralytics_arguments(place: Place, cell: Cell, length: Mapping[str, float], out: Path) -> list[str]:
    """Return those of ``yolo``; a network from its row has no trained weights."""
    data, size, _ = DATA[cell.data]
    return [
        *("classify", "train", f"model={cell.network}.yaml", f"data={place.cache / 'ultralytics' / data}"),
        *(f"imgsz={size}", f"seed={cell.seed}", "device=cpu", f"project={out}", "name=run"),
        *(f"{name}={value}" for name, value in length.items()),
    ]


@dataclass(frozen=True)
class Peer:
    """How a peer is called and heard.

    Attributes:
        script: within the folder of scripts.
        arguments: of the script.
        epoch: the line that ends an epoch's validation, with its top-1 in percent.
    """

    script: str
    arguments: Callable[[Place, Cell, Mapping[str, float], Path], list[str]]
    epoch: re.Pattern[str]


PEERS: Mapping[str, Peer] = {
    "torchvision": Peer("torchvision/train.py", torchvision_arguments, re.compile(r"^Test:\s+Acc@1 (?P<top1>[\d.]+)")),
    "timm": Peer(
        "timm/train.py",
        timm_arguments,
        # the average stands in brackets, and is whole with the last batch
        re.compile(r"Test: \[ *(?P<batch>\d+)/(?P=batch)\].*Acc@1: *[\d.]+ \( *(?P<top1>[\d.]+)\)"),
    ),
    "ultralytics": Peer("", ultralytics_arguments, re.compile(r"^ +all +(?P<top1>[\d.]+) +[\d.]+")),
}


def train_peer(place: Place, cell: Cell, length: Mapping[str, float]) -> Outcome:
    """Return what came of a peer's script."""
    peer = PEERS[cell.trainer]
    ends, top1, lines, begun = [], [], [], 0.0
    with tempfile.TemporaryDirectory() as out:
        options = ["--seed", str(cell.seed)] if cell.trainer == "torchvision" else []
        if cell.start == "weights":
            options += ["--weights", str(place.cache / "torchvision.safetensors")]
        command = [str(place.python), "-u", str(PEER), cell.trainer, str(place.scripts / peer.script), *options, "--"]
        command += peer.arguments(place, cell, length, Path(out))
        # no figures to Ultralytics' server, and its settings not into the home folder
        quiet = {"YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(place.cache / "ultralytics")}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=out, env={**os.environ, **quiet}
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if line.startswith("peer: versions"):
                    begun = time.monotonic()
                if found := peer.epoch.search(line):
                    ends.append(time.monotonic() - begun)
                    top1.append(float(found["top1"]) / 100)
        if process.returncode:
            raise RuntimeError(f"{cell.name} ended with {process.returncode}:\n{''.join(lines[-30:])}")
        if cell.trainer == "ultralytics":  # its table has all digits, and no last look at the best weights
            with (Path(out) / "run" / "results.csv").open() as stream:
                rows = list(csv.DictReader(stream))
            ends = [float(row["time"]) for row in rows]
            top1 = [float(row["metrics/accuracy_top1"]) for row in rows]
    said = dict(line.removeprefix("peer: ").split(maxsplit=1) for line in lines if line.startswith("peer: "))
    return Outcome(float(said["seconds"]), tuple(ends), tuple(top1), said["versions"].strip())


def train_ours(place: Place, cell: Cell, length: Mapping[str, float]) -> Outcome:
    """Return what came of ours; in a fresh process, as the peers'."""
    # before the clock, as the peers' imports
    import featherbone.runs.page
    import featherbone.runs.tasks
    import featherbone.training.loop  # noqa: F401

    data, size, _ = DATA[cell.data]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run = fb.train(
            place.cache / data,
            cell.network,
            weights=place.cache / "ours.safetensors" if cell.start == "weights" else None,
            out=Path(folder) / "run",
            changes={"size": size, "seed": cell.seed, **length},
            quiet=True,
        )
        seconds = time.perf_counter() - begun
        with (run.folder / "history.csv").open() as stream:
            rows = list(csv.DictReader(stream))
    ends = [sum(float(row["seconds"]) for row in rows[: i + 1]) for i in range(len(rows))]
    versions = ", ".join(f"{name} {version(name)}" for name in ("featherbone", "torch"))
    top1 = tuple(float(row["val_top1"]) for row in rows if row["val_top1"])  # short epochs are not all validated
    return Outcome(round(seconds, 1), tuple(ends), top1, versions)


def train(place: Place, cell: Cell, length: Mapping[str, float]) -> Outcome:
    """Return what came of a cell."""
    if cell.trainer != "featherbone":
        return train_peer(place, cell, length)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(train_ours, place, cell, length).result()


def ledger() -> list[dict[str, Any]]:
    """Return all that was measured."""
    return [json.loads(line) for line in LEDGER.read_text().splitlines()] if LEDGER.exists() else []


def epoch_seconds(
    place: Place, cell: Cell, lines: list[dict[str, Any]], write: Callable[[dict[str, Any]], None]
) -> float:
    """Return the seconds of an epoch: of the second of two, or what the ledger has."""
    asked = {"trainer": cell.trainer, "network": cell.network, "data": cell.data}
    for line in lines:
        if line["kind"] == "calibration" and asked.items() <= line.items():
            return line["epoch_seconds"]
    outcome = train(place, replace(cell, start="scratch", seed=0), {"epochs": 2})
    seconds = round(outcome.ends[1] - outcome.ends[0], 2)
    line = {"kind": "calibration", **asked, "epoch_seconds": seconds, "seconds": outcome.seconds}
    lines.append(line)
    write(line)
    return seconds


def beside_seconds(
    place: Place, cell: Cell, lines: list[dict[str, Any]], write: Callable[[dict[str, Any]], None]
) -> float:
    """Return the seconds that ours takes beside training: for reading the set, timing, evaluation and its page."""
    asked = {"trainer": cell.trainer, "network": cell.network, "data": cell.data}
    for line in lines:
        if line["kind"] == "calibration" and asked.items() <= line.items():
            return line["beside_seconds"]
    outcome = train(place, replace(cell, start="scratch", seed=0), {"minutes": 0.5})
    beside = round(outcome.seconds - outcome.ends[-1], 1)
    line = {"kind": "calibration", **asked, "beside_seconds": beside, "seconds": outcome.seconds}
    lines.append(line)
    write(line)
    return beside


def length_of(
    place: Place, cell: Cell, budget: float, lines: list[dict[str, Any]], write: Callable[[dict[str, Any]], None]
) -> dict[str, float]:
    """Return how a trainer is told its budget of seconds."""
    if cell.trainer == "ultralytics":
        return {"time": budget / 3600}
    if cell.trainer == "featherbone":
        return {"minutes": (budget - beside_seconds(place, cell, lines, write)) / 60}
    return {"epochs": max(int(budget / epoch_seconds(place, cell, lines, write)), 1)}


def fill(wanted: list[Cell], place: Place, minutes: float, scale: float) -> None:
    """Train the cells that are not in the ledger; scaled ones are only told."""
    lines = ledger() if scale == 1 else []
    known = [line for line in lines if line["kind"] == "training"]
    end = time.monotonic() + 60 * minutes

    def write(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)
        if scale == 1:
            with LEDGER.open("a") as stream:
                print(json.dumps(line), file=stream)

    for cell in wanted:
        if any(asdict(cell).items() <= line.items() for line in known):
            continue
        if time.monotonic() >= end:
            return
        length = length_of(place, cell, 60 * cell.minutes * scale, lines, write)
        outcome = train(place, cell, length)
        # where time is up, an epoch is cut short: only whole ones count
        whole = len(outcome.ends) if "epochs" in length else len(outcome.ends) - 1
        images = TRAIN_IMAGES[DATA[cell.data][0]] * whole
        write(
            {
                "kind": "training",
                **asdict(cell),
                "top1": outcome.top1[-1],
                "best": max(outcome.top1),
                "epochs": len(outcome.ends),
                "length": length,
                "seconds": outcome.seconds,
                "images_per_second": round(images / outcome.ends[whole - 1], 1) if whole else None,
                "versions": outcome.versions,
            }
        )


def spread(values: list[float], digits: int) -> str:
    """Return the mean, the range and the number of values."""
    mean, low, high = (f"{v:.{digits}f}" for v in (sum(values) / len(values), min(values), max(values)))
    return f"{mean} ({low} to {high}, {len(values)})"


def table(title: str, value: Callable[[Mapping[str, Any]], float | None], digits: int) -> str:
    """Return a table of the ledger: trainers and networks by columns."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    columns: dict[str, None] = {}
    for line in ledger():
        if line["kind"] == "training" and value(line) is not None:
            cell = Cell(**{column.name: line[column.name] for column in fields(Cell)})
            found[cell.trainer, cell.network][cell.column].append(value(line) or 0.0)
            columns[cell.column] = None
    lines = ["| " + " | ".join([title, *columns]) + " |", "|---|" + "---:|" * len(columns)]
    for row in ROWS:
        values = [spread(v, digits) if (v := found[row].get(column)) else "" for column in columns]
        lines.append("| " + " | ".join([" ".join(row), *values]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Fill the ledger, and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?")
    parser.add_argument("--scripts", type=Path)
    parser.add_argument("--python", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--print", action="store_true", dest="only_print")
    # a share of the budgets, to try it out; nothing goes to the ledger
    parser.add_argument("--scale", type=float, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.only_print:
        if None in (arguments.shared, arguments.scripts, arguments.python, arguments.cache):
            parser.error("SHARED, --scripts, --python and --cache are needed to train")
        # an interpreter of a virtual environment is a link that must not be followed
        python = arguments.python.absolute()
        place = Place(arguments.shared.resolve(), arguments.scripts.resolve(), python, arguments.cache.resolve())
        prepare(place)
        fill(
            [cell for cell in cells(arguments.seeds) if arguments.only in cell.name],
            place,
            arguments.minutes,
            arguments.scale,
        )
        if arguments.scale != 1:
            return
    print(table("held-out top-1, %", lambda line: 100 * line["top1"], 1))
    print()
    print(table("seconds used of the budget, %", lambda line: 100 * line["seconds"] / (60 * line["minutes"]), 0))
    print()
    print(table("images a second", lambda line: line["images_per_second"], 0))


if __name__ == "__main__":
    main()
