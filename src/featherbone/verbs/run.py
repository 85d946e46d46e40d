"""A finished run, as it is read from its folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherbone.errors import InputError, needs
from featherbone.train import Recipe
from featherbone.verbs.folder import DATA, RESULT, read_json, read_recipe

if TYPE_CHECKING:
    from featherbone.data.sets import Skipped


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it is.
        recipe: all that determined it.
        classes: class names in label order.
        test_top1: share of held-out images whose true class came first.
        test_top5: share of held-out images whose true class was among the first five.
        test_images: how many images were held out.
        train_seconds: time spent in training and validating, over all sittings.
        skipped: files of the data set that could not be read.
        examples: a few held-out image files.
    """

    folder: Path
    recipe: Recipe
    classes: tuple[str, ...]
    test_top1: float
    test_top5: float
    test_images: int
    train_seconds: float
    skipped: tuple[Skipped, ...]
    examples: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "run": str(self.folder),
            "test_top1": self.test_top1,
            "test_top5": self.test_top5,
            "test_images": self.test_images,
            "train_seconds": self.train_seconds,
            "classes": list(self.classes),
            "skipped": [asdict(file) for file in self.skipped],
            "examples": [str(path) for path in self.examples],
            "recipe": self.recipe.to_dict(),
        }


def open_run(folder: Path) -> Run:
    """Return the finished run in a folder.

    Raises:
        InputError: if there is none.
    """
    with needs("train", "reading a run"):
        from featherbone.data.sets import Skipped
    if not (folder / RESULT).exists():
        raise InputError(f"{folder} holds no finished run (it has no {RESULT})")
    facts, result = read_json(folder / DATA), read_json(folder / RESULT)
    return Run(
        folder=folder,
        recipe=read_recipe(folder),
        classes=tuple(facts["classes"]),
        test_top1=result["top1"],
        test_top5=result["top5"],
        test_images=facts["val_images"],
        train_seconds=result["train_seconds"],
        skipped=tuple(Skipped(**file) for file in facts["skipped"]),
        examples=tuple(map(Path, facts["examples"])),
    )
