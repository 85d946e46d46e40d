"""Finished runs of one recipe with several seeds, and the range of what they reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featherbone.errors import counted
from featherbone.runs.run import Run

SCORES, SEEDS_PAGE = "scores.json", "seeds.html"


@dataclass(frozen=True)
class ScoreRange:
    """A score of several runs.

    Attributes:
        mean: of all.
        low: the lowest.
        high: the highest.
        values: one for each seed, in their order.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: tuple[float, ...]) -> ScoreRange:
        """Return the range of one value or more."""
        return cls(sum(values) / len(values), min(values), max(values), values)


@dataclass(frozen=True)
class SeedRuns:
    """Finished runs of one recipe with several seeds.

    Attributes:
        folder: that they lie in, with their page and ``scores.json``.
        runs: one for each seed, in their order.
        changes: what was otherwise when a later one began than when the first did, and was accepted.
    """

    folder: Path
    runs: tuple[Run, ...]
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order of the runs."""
        return tuple(run.recipe.seed for run in self.runs)

    @property
    def scores(self) -> Mapping[str, ScoreRange]:
        """What the runs reached on the held-out images, by the names that the scores have in a ``Run``."""
        return {name: ScoreRange.of(tuple(run.scores[name] for run in self.runs)) for name in self.runs[0].scores}

    @property
    def page(self) -> Path:
        """The page that shows all of them."""
        return self.folder / SEEDS_PAGE

    @property
    def summary(self) -> tuple[str, str]:
        """The name of the score that counts, and its mean and range in words."""
        one = next(iter(self.scores.values()))
        images = counted(self.runs[0].test_images, "image")
        words = f"mean {one.mean:.2%}, {one.low:.2%} to {one.high:.2%} ({counted(len(self.runs), 'seed')}, {images})"
        return self.runs[0].summary[0], words

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "folder": str(self.folder),
            "seeds": list(self.seeds),
            "scores": {name: asdict(one) for name, one in self.scores.items()},
            "runs": [run.to_dict() for run in self.runs],
            "changes": list(self.changes),
        }
