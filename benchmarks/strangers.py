"""Strangers' weights, trained and imported: ``python benchmarks/strangers.py DATA --minutes 3``.

``DATA`` holds CIFAR-10 as ``benchmarks/cifar10.py`` reads it. Two networks that are written here apart from featherbone
(``tests/helpers/strangers.py``), a DenseNet 6-12-24 and a ShuffleNet V1 for small images, are trained for some minutes,
saved, and imported by ``featherbone import`` in the ways that a person would try. Printed are the accuracy of the
original on the test images, and what came of every import: the accuracy, or the sentence of the refusal.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from cifar10 import write_published
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.strangers import SmallDenseNet, SmallShuffleNet

MEAN = STD = 0.5
DENSENET = ["densenet121", "layers=6,12,24", "growth_rate=12", "stem_channels=24", "stem_stride=1", "stem_norm=false"]
SHUFFLENET = [
    "shufflenet_v1_g3_x1_0",
    "repeats=2,3,2",
    "stem_stride=2",
    "first_stride=1",
    "shortcut_pool=2",
]
# names that no project has, so that order is all there is to go by
FOREIGN = {"dense": "part", "trans": "between", "conv": "kernel", "bn": "scale"}
BACK = [f"--rename={new}={old}" for old, new in FOREIGN.items()]
KUANGLIU = "--form=kuangliu/pytorch-cifar"
# what is tried: the network, the row and its columns, other options, whether it has to be the original
TRIES: list[tuple[str, list[str], list[str], bool]] = [
    ("densenet", DENSENET, [], True),
    ("densenet", DENSENET, [*BACK, f"{KUANGLIU} with new channels last"], True),
    ("densenet", DENSENET, [*BACK, KUANGLIU], False),
    ("densenet", DENSENET, BACK, False),
    ("densenet", ["densenet_bc100_k12_cifar"], [], False),
    ("shufflenet", SHUFFLENET, [], True),
    ("shufflenet", SHUFFLENET[:3], [], False),
    ("shufflenet", SHUFFLENET[:4], [], False),
]


def read(folder: Path, names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images of binary files, -1 to 1, and their classes."""
    rows = np.concatenate([np.fromfile(folder / name, np.uint8).reshape(-1, 3073) for name in names])
    images = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
    return (images - MEAN) / STD, torch.from_numpy(rows[:, 0].astype(np.int64))


def train(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, minutes: float) -> None:
    """Train a network for some minutes with SGD and flips; the rate rises for a tenth of them and then falls."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    network.train()
    began = time.perf_counter()
    while (share := (time.perf_counter() - began) / (60 * minutes)) < 1:
        chosen = torch.randint(len(images), (128,))
        x = images[chosen]
        x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x, x.flip(3))
        optimizer.param_groups[0]["lr"] = 0.05 * min(10 * share, 1 - share)
        optimizer.zero_grad()
        F.cross_entropy(network(x), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of right answers."""
    network.eval()
    with torch.no_grad():
        right = sum(
            int((network(images[i : i + 500]).argmax(1) == labels[i : i + 500]).sum())
            for i in range(0, len(images), 500)
        )
    return right / len(images)


def foreign(name: str) -> str:
    """Return a name that no project has."""
    for old, new in FOREIGN.items():
        name = name.replace(old, new)
    return name


def main() -> None:
    """Train, save, import and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with the sheets")
    parser.add_argument("--minutes", type=float, default=3, help="of training, for each of the two networks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        data = write_published(arguments.data, place / "cifar-10-batches-bin")
        images, labels = read(data, [f"data_batch_{i}.bin" for i in range(1, 6)])
        test = read(data, ["test_batch.bin"])
        networks = {"densenet": SmallDenseNet(), "shufflenet": SmallShuffleNet(stem=2, stride=1, pool=2)}
        originals = {}
        for key, network in networks.items():
            train(network, images, labels, arguments.minutes)
            originals[key] = accuracy(network, *test)
            state = {foreign(name): tensor for name, tensor in network.state_dict().items()}
            torch.save(state, place / f"{key}.pth")
            with torch.no_grad():
                np.savez(place / f"{key}.npz", input=test[0][:8].numpy(), output=network(test[0][:8]).numpy())
            print(f"{key}: {originals[key]:.2%} before", flush=True)
        for key, (row, *columns), options, same in TRIES:
            least = f"{100 * originals[key] - 0.005:.3f}"
            for proof in (["--check-accuracy", data, "--least", least], ["--check", place / f"{key}.npz"]):
                call = [
                    "import",
                    place / f"{key}.pth",
                    "--as",
                    row,
                    *(f"--set={column}" for column in columns),
                    *options,
                ]
                call += [
                    *proof,
                    "--mean=0.5,0.5,0.5",
                    "--std=0.5,0.5,0.5",
                    "--size=32",
                    "--classes",
                    data / "batches.meta.txt",
                    "--out",
                    place / "out.safetensors",
                ]
                done = subprocess.run(
                    [sys.executable, "-m", "featherbone", *map(str, call), "--overwrite"],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                said = " ".join((done.stdout + done.stderr).replace(f"{place}/", "").split())
                print(
                    f"\n{key} as {' '.join([row, *columns, *options])} {proof[0]}: exit {done.returncode}\n  {said}",
                    flush=True,
                )
                if same:
                    assert done.returncode == 0, said
                    found = re.search(r"top-1[^0-9]*([0-9.]+) ?%", said)
                    if proof[0] == "--check-accuracy":
                        assert found, said
                        assert abs(float(found[1]) / 100 - originals[key]) < 1e-4, said


if __name__ == "__main__":
    main()
