"""A run is a folder.

```text
RUN/recipe.json             all that determines the run
    data.json               classes, fingerprint of the images, files left out, a few held-out images
    start.safetensors       weights that it began with  (if not from scratch)
    checkpoints/            the last two moments that can be gone on from
    history.csv             one row per epoch
    tensorboard/            the same for TensorBoard
    model.safetensors       the trained network     (when finished)
    result.json             what it reached         (when finished)
    run.html                curves, confusion, worst mistakes as pictures  (when finished)
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherbone.errors import InputError, needs
from featherbone.files import AnyPath, read_json
from featherbone.training import Recipe

if TYPE_CHECKING:
    from featherbone.data.dataset import Skipped

_SCORES = ("top1", "top5", "ap", "ap50", "ap75")


RECIPE, DATA, RESULT, START = "recipe.json", "data.json", "result.json", "start.safetensors"


def read_recipe(run: AnyPath) -> Recipe:
    """Return the recipe of a run's folder; of a single weight file, whose recipe is not known, an empty one."""
    return Recipe.from_dict(read_json(Path(run) / RECIPE)) if Path(run).is_dir() else Recipe()


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it is.
        recipe: all that determined it.
        classes: class names in label order.
        scores: on the held-out images, 0 to 1: "top1" and "top5" (shares whose true class came first, or among the
            first five); of a detector "ap", "ap50" and "ap75" (COCO's average precision, and that at one overlap).
        test_images: how many images were held out.
        train_seconds: time spent in training and validating, over all sittings.
        skipped: files of the data set that could not be read.
        examples: a few held-out image files.
    """

    folder: Path
    recipe: Recipe
    classes: tuple[str, ...]
    scores: Mapping[str, float]
    test_images: int
    train_seconds: float
    skipped: tuple[Skipped, ...]
    examples: tuple[Path, ...]

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
        from featherbone.data.dataset import Skipped
    if not (folder / RESULT).exists():
        raise InputError(f"{folder} holds no finished run (it has no {RESULT})")
    facts, result = read_json(folder / DATA), read_json(folder / RESULT)
    return Run(
        folder=folder,
        recipe=read_recipe(folder),
        classes=tuple(facts["classes"]),
        scores={name: result[name] for name in _SCORES if name in result},
        test_images=facts["val_images"],
        train_seconds=result["train_seconds"],
        skipped=tuple(Skipped(**file) for file in facts["skipped"]),
        examples=tuple(map(Path, facts["examples"])),
    )
