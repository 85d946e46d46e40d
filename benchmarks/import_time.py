"""Processor seconds, user and system, that commands take beyond ``import torch``, and what they import.

Fresh interpreters in turn: each round runs ``import torch`` and every command once, and a command is compared with the
``import torch`` of its round. The commands work on a small network and a few small images, so most of it is imports.

    python benchmarks/import_time.py [ROUNDS]
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

import featherbone as fb

ROUNDS = 7
NETWORK = "shufflenet_v2_x0_5"
FEATHERBONE = ("-m", "featherbone")
COMMANDS = {
    "import torch": ("-c", "import torch"),
    "import featherbone": ("-c", "import featherbone"),
    "--help": (*FEATHERBONE, "--help"),
    "cost NETWORK": (*FEATHERBONE, "cost", NETWORK),
    "predict RUN IMAGE": (*FEATHERBONE, "predict", "m.safetensors", "photos/a/0.png"),
    "evaluate RUN PHOTOS": (*FEATHERBONE, "evaluate", "m.safetensors", "photos"),
}


def prepare(folder: Path) -> None:
    """Write a weight file and twelve images of three classes."""
    random = np.random.default_rng(0)
    for name in "abc":
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, (240, 320, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    model = fb.create_model(NETWORK, num_classes=3)
    fb.save(model, folder / "m.safetensors", classes=("a", "b", "c"), preprocess=fb.Preprocess.usual(224, 3))


def processor_seconds(arguments: tuple[str, ...], folder: Path) -> float:
    """Return what one run in a fresh interpreter takes."""
    with subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL) as running:
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0, arguments
    return used.ru_utime + used.ru_stime


def imported(arguments: tuple[str, ...], folder: Path) -> str:
    """Return the packages whose imports take longest, in milliseconds of one run by the clock."""
    call = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True)
    spent: Counter[str] = Counter()
    for own, name in re.findall(r"import time: +(\d+) \| +\d+ \| +([\w]+)", done.stderr):
        spent[name] += int(own)
    return ", ".join(f"{name} {microseconds / 1e3:.0f}" for name, microseconds in spent.most_common(7))


def main() -> None:
    """Print a table: medians, and the tenth and ninetieth percentiles."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        packages = {name: imported(arguments, folder) for name, arguments in COMMANDS.items()}  # compiles modules, too
        taken = [{name: processor_seconds(call, folder) for name, call in COMMANDS.items()} for _ in range(rounds)]
    print(f"processor seconds, median of {rounds} (p10-p90), threads: {os.cpu_count()}\n")
    print(f"{'':20}  {'in all':>6}  {'beyond import torch':>20}  longest imports in ms, by the clock")
    for name in COMMANDS:
        beyond = [one[name] - one["import torch"] for one in taken]
        low, *_, high = statistics.quantiles(beyond, n=10, method="inclusive")
        total = statistics.median(one[name] for one in taken)
        spread = f"{statistics.median(beyond):+.2f} ({low:+.2f} to {high:+.2f})"
        print(f"{name:20}  {total:6.2f}  {spread:>20}  {packages[name]}")


if __name__ == "__main__":
    main()
