"""Folders of small images to learn from, and names that may do harm."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from featherbone.data.video import Frame, writing

HOSTILE = ("<b>blue<!--<script>", "green\" onload='alert(1)", "red &amp; \u202eder")
HOSTILE_FILE = "<img src=x onerror=alert(1)>.png"


def draw_classes(root: Path, count: int = 16, size: int = 16) -> Path:
    """Write three classes of noisy images, each with its own colour."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 50, (size, size, 3), dtype=np.uint8)
            pixels[..., 2 - label] += 160
            Image.fromarray(pixels).save(root / name / f"{i:02}.png")
    return root


def draw_hostile(root: Path) -> Path:
    """Write three classes of noisy images, and a file that is none, under hostile names."""
    random = np.random.default_rng(0)
    for label, name in enumerate(HOSTILE):
        folder = root / name
        folder.mkdir(parents=True)
        for i in range(10):
            pixels = random.integers(0, 50, (16, 16, 3), dtype=np.uint8)
            pixels[..., label] += 160
            Image.fromarray(pixels).save(folder / f"{i}{HOSTILE_FILE}")
    (folder / "notes.txt").write_text("no picture")
    return root


def noise(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Return an image like no other."""
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), np.uint8))


def film(path: Path, photo: Path, frames: int) -> Path:
    """Write a video that shows one image, ten frames a second."""
    path.parent.mkdir(exist_ok=True)
    with writing(path, Fraction(10)) as append, Image.open(photo) as image:
        for i in range(frames):
            append(Frame(image.copy(), Fraction(i, 10)))
    return path
