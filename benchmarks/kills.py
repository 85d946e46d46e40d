"""Kill a training again and again: ``python benchmarks/kills.py --kills 20 --devices 2``.

A short run on colours is trained undisturbed; the same run is then started, killed (SIGKILL: the launcher and all its
processes at random moments) and resumed until it has been killed that often, and finished. Printed is whether both
ended with the same weights to the bit.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import featherbone as fb


def draw(root: Path) -> Path:
    """Write three classes of noisy images, each with its own colour."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (root / name).mkdir(parents=True)
        for i in range(60):
            pixels = generator.integers(0, 90, (32, 32, 3), dtype=np.uint8)
            pixels[..., 2 - label] += 60
            Image.fromarray(pixels).save(root / name / f"{i:02}.png")
    return root


def resumed(run: Path, devices: int) -> subprocess.Popen[bytes]:
    """Go on with a run in a process group of its own."""
    program = f"import featherbone as fb; fb.resume({str(run)!r}, devices={devices}, quiet=True)"
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], start_new_session=True)


def main() -> int:
    """Print the verdict; 1 if the weights differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as place:
        changes = {"epochs": arguments.epochs, "batch_size": 16, "precision": "f32", "checkpoint_seconds": 0.0}
        changes |= {"workers": 1, "ema_decay": 0.99}
        devices = arguments.devices
        data = draw(Path(place) / "colours")
        first = fb.train(data, out=Path(place) / "first", changes=changes, devices=devices, quiet=True)
        second = Path(place) / "second"
        second.mkdir()
        for name in ("recipe.json", "data.json"):
            shutil.copy(first.folder / name, second)
        kills = 0
        while kills < arguments.kills:
            running = resumed(second, devices)
            begun = time.monotonic()
            wait = moments.uniform(2, 16 if devices == 1 else 24)
            while time.monotonic() - begun < wait and running.poll() is None:
                time.sleep(0.01)
            if running.poll() is not None:
                print("the run ended before it was killed often enough: give more epochs")
                return 1
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            kills += 1
            saved = sorted(path.stem for path in (second / "checkpoints").glob("[0-9]*"))
            print(
                f"kill {kills} after {time.monotonic() - begun:.1f} s, at step {int(saved[-1]) if saved else 0}",
                flush=True,
            )
        resumed(second, devices).wait()
        a, b = (load_file(run / "model.safetensors") for run in (first.folder, second))
        same = all(torch.equal(a[name], b[name]) for name in a)
        print(f"{kills} kills, {devices} processes: the weights are {'the same to the bit' if same else 'DIFFERENT'}")
        return int(not same)


if __name__ == "__main__":
    raise SystemExit(main())
