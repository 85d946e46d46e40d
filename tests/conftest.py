"""Data and runs that several test files share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import featherbone as fb


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two test processes share two cores: one thread each, and sums in one order."""
    torch.set_num_threads(1)


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


QUICK = {
    "epochs": 16,
    "batch_size": 8,
    "lr": 0.02,
    "flip": 0.0,
    "precision": "f32",
    "channels_last": True,
    "workers": 0,
}


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return draw_classes(tmp_path / "colours")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """A finished run on the colours."""
    place = tmp_path_factory.mktemp("finished")
    return fb.train(draw_classes(place / "colours"), out=place / "run", changes=QUICK, quiet=True)
