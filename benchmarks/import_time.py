"""How long ``import featherbone`` takes beyond ``import torch``: medians over fresh interpreters, in turn."""

import statistics
import subprocess
import sys

RUNS = 7
SCRIPT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    """Return the time of one import in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(module)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Print both medians and the median difference."""
    seconds("featherbone")  # compiles the modules once
    pairs = [(seconds("torch"), seconds("torch, featherbone")) for _ in range(RUNS)]
    torch_alone, both = (statistics.median(column) for column in zip(*pairs, strict=True))
    beyond = statistics.median(b - a for a, b in pairs)
    print(f"import torch {torch_alone:.2f} s, with featherbone {both:.2f} s: {beyond:+.3f} s (median of {RUNS} pairs)")


if __name__ == "__main__":
    main()
