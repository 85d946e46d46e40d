"""Data and runs that several test files share."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from helpers.browser import opened  # noqa: F401 - a fixture
from helpers.cli import cli  # noqa: F401 - a fixture
from helpers.images import draw_classes, draw_hostile
from helpers.training import QUICK
from torch import Tensor

import featherbone as fb
from featherbone.cost.measurement import Timing
from featherbone.cost.measurement.latency import timing
from featherbone.deploy import search
from featherbone.deploy.engines import Runner


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two test processes share two cores: one thread each, and sums in one order."""
    torch.set_num_threads(1)


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
