"""CIFAR-10 within a budget of minutes: ``python benchmarks/cifar10.py DATA --minutes 15``.

``DATA`` holds CIFAR-10 as ``train_00.webp`` ... and ``test_00.webp`` ... (sheets of 25 x 40 images of 32 pixels) with
``train_labels.npy`` and ``test_labels.npy``. They are written out as the published binary files, of which all 50,000
images are learned from and all 10,000 of the test are looked at.

The network is a VoVNet: of the families here it computes fastest for its accuracy in steps of bfloat16, because its
3x3 convolutions are dense and few maps are read twice. It is the published row, thinner and with a stem for 32 pixels.

    --minutes  of training and validation; default 15
    --width    of the first stage's convolutions; default 64
    --seed     default 0
    --out      where the run is kept; default: nowhere
    --set      change a column of the recipe, as ``featherbone train`` does; may be given more than once
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from cifar10_folder import NAMES, sheet

import featherbone as fb


def write_published(data: Path, folder: Path) -> Path:
    """Write the files of CIFAR-10's binary version: a byte of label and the red, green and blue planes an image."""
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n")
    for split, names in (("train", [f"data_batch_{i}.bin" for i in range(1, 6)]), ("test", ["test_batch.bin"])):
        labels = np.load(data / f"{split}_labels.npy").astype(np.uint8)
        for batch, name in enumerate(names):
            with (folder / name).open("wb") as stream:
                for number in range(10 * batch, 10 * (batch + 1)):
                    planes = sheet(data / f"{split}_{number:02}.webp").transpose(0, 3, 1, 2).reshape(1000, -1)
                    stream.write(np.concatenate([labels[1000 * number :][:1000, None], planes], axis=1).tobytes())
    return folder


def network(width: int) -> fb.Spec:
    """Return the row: a stem that halves the image, then three stages of one short module, at 16, 8 and 4 pixels."""
    row = fb.spec("vovnet27_slim")
    return replace(  # type: ignore[call-arg]
        row,
        stem_stride=2,
        stem_channels=(width, width, width),
        conv_channels=(width, width * 3 // 2, width * 2),
        concat_channels=(width * 2, width * 4, width * 6),
        modules=(1, 1, 1),
        layers=3,
    )


def main() -> None:
    """Write the files, train, and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with the sheets")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="COLUMN=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = write_published(arguments.data, Path(place) / "cifar-10-batches-bin")
        changes = {
            "minutes": arguments.minutes,
            "batch_size": 128,
            "optimizer": "muon",
            "lr": 0.05,
            "momentum": 0.6,
            "warmup": 0.2,
            "schedule": "linear",
            "crop_min": 1.0,
            "shift": 4,
            "flip": 0.5,
            "ema_decay": 0.99,
            "seed": arguments.seed,
            **{name: json.loads(value) for name, _, value in (one.partition("=") for one in arguments.set)},
        }
        out = arguments.out or Path(place) / "run"
        run = fb.train(folder, network(arguments.width), recipe="small", changes=changes, out=out)
        parameters = sum(weight.numel() for weight in fb.load(run.folder).parameters())
        print(
            f"seed {arguments.seed}: top-1 {run.test_top1:.2%} of {run.test_images} in the {run.epochs}th epoch, after "
            f"{run.train_seconds / 60:.1f} minutes; {parameters:,} parameters, {run.recipe.precision}"
        )


if __name__ == "__main__":
    main()
