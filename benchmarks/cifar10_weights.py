"""Accuracy of imported CIFAR-10 weights on the whole test set.

``DATA`` holds the test set as ``test_00.webp`` ... ``test_09.webp`` (sheets of 25 x 40 images of 32 pixels) with
``test_labels.npy``; ``WEIGHTS`` is the file of another project.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import featherbone as fb

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def main() -> None:
    """Import, classify every test image, and print the share of right answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder with the sheets")
    parser.add_argument("weights", type=Path, help="the foreign weight file")
    parser.add_argument("--model", default="densenet_bc100_k12_cifar")
    arguments = parser.parse_args()
    model, report = fb.import_weights(arguments.model, arguments.weights)
    print(f"{report.source}: {report.loaded} tensors, {len(report.missing)} missing, {len(report.left_over)} left over")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    right = total = 0
    labels = torch.from_numpy(np.load(arguments.data / "test_labels.npy").astype(np.int64))
    for number in range(10):
        with Image.open(arguments.data / f"test_{number:02}.webp") as image:
            pixels = np.asarray(image.convert("RGB")).reshape(25, 32, 40, 32, 3).transpose(0, 2, 4, 1, 3)
        images = (torch.from_numpy(pixels.reshape(-1, 3, 32, 32).copy()) / 255 - mean) / std
        with torch.no_grad():
            answers = torch.cat([model(images[i : i + 100]).argmax(1) for i in range(0, 1000, 100)])
        right += int((answers == labels[total : total + 1000]).sum())
        total += 1000
    print(f"top-1 {right / total:.2%} ({right} of {total})")


if __name__ == "__main__":
    main()
