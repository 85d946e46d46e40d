"""The README's first run, ``featherbone train digits``, over several seeds: held-out accuracy and training time."""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

import featherbone as fb


def main() -> None:
    """Train once per seed and print each run and the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    seeds = parser.parse_args().seeds
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            run = fb.train("digits", out=Path(folder) / str(seed), changes={"seed": seed}, quiet=True)
            runs.append(run)
            wrong = run.test_images - round(run.test_top1 * run.test_images)
            print(f"seed {seed}: {run.test_top1:.2%} ({wrong} of {run.test_images} wrong), {run.train_seconds:.1f} s")
    accuracies = [run.test_top1 for run in runs]
    times = [run.train_seconds for run in runs]
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}: mean {statistics.mean(accuracies):.2%}, "
        f"lowest {min(accuracies):.2%}, {min(times):.1f} to {max(times):.1f} s, n = {len(runs)}"
    )


if __name__ == "__main__":
    main()
