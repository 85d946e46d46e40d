"""What it brings that a process keeps the memory it has freed: ``python benchmarks/allocation.py``.

Training steps of a few networks, each in a process of its own, with memory kept (``training/allocation.py``) and as the
system gives it, in turns. Printed are images a second, the best of some steps, and how many times as fast; and the
largest memory of the process.

    --rounds   of both kinds; default 3
"""

import argparse
import json
import resource
import subprocess
import sys
from collections import defaultdict
from statistics import median

from cifar10 import network

import featherbone as fb
from featherbone.training.allocation import keep_freed_memory
from featherbone.training.autotune import Compute, step_seconds

CASES: dict[str, tuple[fb.Spec, int, int, Compute]] = {
    "shufflenet_v2_x0_5, 32 x 112 pixels": (fb.spec("shufflenet_v2_x0_5"), 32, 112, ("f32", True)),
    "shufflenet_v2_x1_0, 16 x 224 pixels": (fb.spec("shufflenet_v2_x1_0"), 16, 224, ("f32", True)),
    "vovnet_v2_19_slim_dw, 32 x 112 pixels": (fb.spec("vovnet_v2_19_slim_dw"), 32, 112, ("bf16", True)),
    "the VoVNet of cifar10.py, 256 x 32 pixels": (network(64), 256, 32, ("bf16", True)),
    "densenet121, 8 x 224 pixels": (fb.spec("densenet121"), 8, 224, ("bf16", True)),
}


def measure(name: str, *, keep: bool) -> tuple[float, int]:
    """Return images a second of a case, and the largest memory in bytes, of this process."""
    row, batch, size, compute = CASES[name]
    if keep and not keep_freed_memory():
        sys.exit("this system's allocator is not glibc's: there is nothing to measure")
    seconds = min(step_seconds(row.build(), (batch, 3, size, size), compute) for _ in range(3))
    return batch / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure, one process after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case[0], keep=arguments.case[1] == "kept")))
        return
    for name in CASES:
        found: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for _ in range(arguments.rounds):
            for kind in ("given", "kept"):
                call = [sys.executable, __file__, "--case", name, kind]
                found[kind].append(json.loads(subprocess.run(call, check=True, capture_output=True).stdout))
        rates = {kind: median(rate for rate, _ in values) for kind, values in found.items()}
        sizes = {kind: max(size for _, size in values) / 1e6 for kind, values in found.items()}
        print(
            f"{name}: {rates['given']:.0f} images/s, kept {rates['kept']:.0f}: {rates['kept'] / rates['given']:.2f} x; "
            f"{sizes['given']:.0f} MB, kept {sizes['kept']:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
