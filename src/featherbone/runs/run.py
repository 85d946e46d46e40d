"""A finished run, as it is read from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featherbone.data.dataset import Skipped
from featherbone.errors import InputError, needs
from featherbone.runs.folder import RESULT, EpochWeights, read_facts, read_recipe, read_result
from featherbone.training import Recipe, processes
from featherbone.weights import read_header


@dataclass(frozen=True)
class Run:
    """A finished run; it stands wherever the path of its folder does.

    Attributes:
        folder: where it is.
        recipe: all that determined it.
        classes: class names in label order.
        scores: on the held-out images, 0 to 1: "top1" and "top5" (shares whose true class came first, or among the
            first five); of a detector "ap", "ap50" and "ap75" (COCO's average precision, and that at one overlap).
        test_images: how many images were held out.
        train_images: how many were learned from.
        drawn_from: how many these were drawn from, by the recipe's ``fraction``; ``None`` if they are all.
        best: the epoch with the best score, what it reached and where its weights are; ``None`` in older runs.
        last: the same of the last epoch. The run's own scores and weights are the last's, with ``patience`` the best's.
        train_seconds: time spent in training and validating, over all sittings.
        skipped: files of the data set that could not be read.
        examples: a few held-out image files.
        changes: what was otherwise when the run went on than when it began, and was accepted.
        first: whether this is the first of the processes that trained it, the one that prints.
        epochs: passes over the images; the last one may have been cut short by ``minutes``.
    """

    folder: Path
    recipe: Recipe
    classes: tuple[str, ...]
    scores: Mapping[str, float]
    test_images: int
    train_seconds: float
    skipped: tuple[Skipped, ...]
    examples: tuple[Path, ...]
    changes: tuple[str, ...] = ()
    first: bool = True
    epochs: int = 0
    train_images: int = 0
    drawn_from: int | None = None
    best: EpochWeights | None = None
    last: EpochWeights | None = None

    def __fspath__(self) -> str:
        """Return the folder: a run stands wherever a path to one does."""
        return str(self.folder)

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def summary(self) -> tuple[str, str]:
        """The name of the score that counts, and that score and others in words."""
        with needs("train", "reading a run"):
            from featherbone.runs.tasks import task_of
        return task_of(read_header(self.folder)).evaluation.summary(self.scores, self.test_images)

    @property
    def other(self) -> tuple[str, str] | None:
        """Of the weights beside the run's own, which epoch they are of, and what it reached and their file in words."""
        found = self.last if self.recipe.patience else self.best
        if found is None or not found.file:
            return None
        with needs("train", "reading a run"):
            from featherbone.runs.tasks import task_of
        _, reached = task_of(read_header(self.folder)).evaluation.summary(found.scores, self.test_images)
        return f"{'last' if self.recipe.patience else 'best'} epoch", f"{found.epoch}: {reached}, in {found.file}"

    @property
    def test_top1(self) -> float:
        """Share of held-out images whose true class came first; of a classifier."""
        return self.scores["top1"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "run": str(self.folder),
            **{f"test_{name}": score for name, score in self.scores.items()},
            "test_images": self.test_images,
            "train_images": self.train_images,
            "drawn_from": self.drawn_from,
            "best": asdict(self.best) if self.best else None,
            "last": asdict(self.last) if self.last else None,
            "train_seconds": self.train_seconds,
            "epochs": self.epochs,
            "classes": list(self.classes),
            "skipped": [asdict(file) for file in self.skipped],
            "examples": [str(path) for path in self.examples],
            "changes": list(self.changes),
            "recipe": self.recipe.to_dict(),
        }


def open_run(folder: Path) -> Run:
    """Return the finished run in a folder.

    Raises:
        InputError: if there is none.
    """
    if not (folder / RESULT).exists():
        raise InputError(f"{folder} holds no finished run (it has no {RESULT})")
    facts, result = read_facts(folder), read_result(folder)
    return Run(
        folder=folder,
        recipe=read_recipe(folder),
        classes=facts.classes,
        scores=result.scores,
        test_images=facts.val_images,
        train_seconds=result.train_seconds,
        epochs=result.epochs,
        skipped=facts.skipped,
        examples=tuple(map(Path, facts.examples)),
        changes=result.changes,
        first=processes().first,
        train_images=facts.train_images,
        drawn_from=facts.drawn_from,
        best=result.best,
        last=result.last,
    )
