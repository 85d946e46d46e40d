"""Data and runs that several test files share."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.browser import opened  # noqa: F401 - a fixture
from PIL import Image
from torch import Tensor

import featherbone as fb
from featherbone.cost.measurement import Timing
from featherbone.cost.measurement.latency import timing
from featherbone.deploy import search
from featherbone.deploy.engines import Runner

# processes share processors, but each takes a GPU of its own
two_processes = pytest.mark.skipif(
    torch.accelerator.is_available() and torch.accelerator.device_count() < 2, reason="this machine has one GPU only"
)

HOSTILE = ("<b>blue<!--<script>", "green\" onload='alert(1)", "red &amp; \u202eder")
HOSTILE_FILE = "<img src=x onerror=alert(1)>.png"


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


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """A run that has hardly begun to learn, on images whose names are hostile."""
    place = tmp_path_factory.mktemp("short")
    return fb.train(draw_hostile(place / "colours"), out=place / "run", changes={**QUICK, "epochs": 2}, quiet=True)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remembered choices of forms and engines lie where nobody else looks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every way once, and say that later ones are a little faster: nothing depends on the machine's mood."""

    def race(runners: Mapping[str, Runner], images: Tensor, *, rounds: int) -> dict[str, Timing]:
        for run in runners.values():
            run(images)
        return {name: timing([10 - 0.5 * place] * rounds) for place, name in enumerate(runners)}

    monkeypatch.setattr(search, "race", race)
