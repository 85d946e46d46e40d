"""Data and runs that several test files share."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from helpers.boxes import BOXES_MODEL, QUICK_BOXES, draw_boxes
from helpers.browser import opened  # noqa: F401 - a fixture
from helpers.cli import cli  # noqa: F401 - a fixture
from helpers.images import draw_classes, draw_hostile
from helpers.training import QUICK
from hypothesis import settings
from torch import Tensor

import featherbone as fb
from featherbone.cost.measurement import Timing
from featherbone.cost.measurement.latency import timing
from featherbone.deploy import search
from featherbone.deploy.engines import Runner
from featherbone.runs.run import open_run

# how long an example takes is the machine's affair
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two test processes share two cores: one thread each, and sums in one order."""
    torch.set_num_threads(1)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return draw_classes(tmp_path / "colours")


def shared(factory: pytest.TempPathFactory, name: str, train: Callable[[Path], fb.Run]) -> fb.Run:
    """Return a run that is trained once for all test processes: tests read it, or change a copy."""
    place = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # the processes' common one
    with FileLock(place / f"{name}.lock"):
        run = place / name / "run"
        return open_run(run) if (run / "result.json").exists() else train(place / name)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """A finished run on the colours."""
    return shared(
        tmp_path_factory,
        "finished",
        lambda place: fb.train(draw_classes(place / "colours"), out=place / "run", changes=QUICK, quiet=True),
    )


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """A run that has hardly begun to learn, on images whose names are hostile."""
    changes = {**QUICK, "epochs": 2}
    return shared(
        tmp_path_factory,
        "short",
        lambda place: fb.train(draw_hostile(place / "colours"), out=place / "run", changes=changes, quiet=True),
    )


@pytest.fixture(scope="session")
def finder(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """A detector that has learned to find the rectangles."""
    return shared(
        tmp_path_factory,
        "finder",
        lambda place: fb.train(
            draw_boxes(place / "shapes"), BOXES_MODEL, head="free", out=place / "run", changes=QUICK_BOXES, quiet=True
        ),
    )


@pytest.fixture(scope="session")
def shapes(finder: fb.Run) -> Path:
    """The images and boxes that it has learned from."""
    return Path(finder.recipe.data)


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
