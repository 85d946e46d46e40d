"""A real folder of images, as a person has it: CIFAR-10 written out as PNG files, with broken and odd files among them.

``DATA`` holds CIFAR-10 as ``train_00.webp`` ... and ``test_00.webp`` ... (sheets of 25 x 40 images of 32 pixels) with
``train_labels.npy`` and ``test_labels.npy``. Of 5,000 images 4,000 are for training.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import featherbone as fb

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def sheet(path: Path) -> np.ndarray:
    """Return the thousand images of a sheet, ``(1000, 32, 32, 3)``."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1000, 32, 32, 3)


def write_images(data: Path, split: str, sheets: int, folder: Path) -> None:
    """Write the first sheets of a split as PNG files in class folders."""
    labels = np.load(data / f"{split}_labels.npy")
    for number in range(sheets):
        for i, image in enumerate(sheet(data / f"{split}_{number:02}.webp")):
            index = 1000 * number + i
            place = folder / NAMES[labels[index]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{index:05}.png")


def add_odd_files(folder: Path) -> None:
    """Write readable but unusual files, and unreadable ones, into a class folder."""
    picture = Image.fromarray(np.full((32, 40, 3), 120, np.uint8))
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.full((32, 32), 30000, np.uint16)).save(folder / "sixteen_bits.png")
    picture.quantize(8).save(folder / "palette.png")
    picture.save(folder / "animated.gif", save_all=True, append_images=[picture.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "rotated.jpg", exif=exif)
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("these are aeroplanes")
    (folder / "cut.jpg").write_bytes((folder / "rotated.jpg").read_bytes()[:200])


def main() -> None:
    """Write the folder, train, and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder with the sheets")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--model", default=fb.DEFAULT_MODEL)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name) / "photos"
        write_images(arguments.data, "train", 4, photos / "train")
        write_images(arguments.data, "test", 1, photos / "val")
        add_odd_files(photos / "train" / "airplane")
        run = fb.train(photos, arguments.model, out=Path(name) / "run", changes={"epochs": arguments.epochs})
    left_out = ", ".join(f"{Path(file.path).name} ({file.reason})" for file in run.skipped)
    reached = f"{run.test_top1:.2%} of {run.test_images}, {run.train_seconds:.0f} s"
    print(f"{arguments.model}, {arguments.epochs} epochs: {reached}")
    print(f"left out: {left_out}")


if __name__ == "__main__":
    main()
