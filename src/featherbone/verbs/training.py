"""Train a network on a person's images, and go on where a run was interrupted."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from featherbone.data import Preprocess
from featherbone.errors import InputError, needs
from featherbone.files import write_json
from featherbone.models import spec, spec_from_row, stem_stride_for
from featherbone.spec import Backbone, Spec, spec_to_dict
from featherbone.train import Recipe, recipe_for
from featherbone.verbs.folder import DATA, RECIPE, RESULT, AnyPath, read_json, read_recipe
from featherbone.weights import FILE_NAME, save

if TYPE_CHECKING:
    from featherbone.data.sets import ImageData, Skipped

DEFAULT_MODEL = "shufflenet_v2_x0_5"
_EXAMPLES = 10  # held-out images noted in a run, to try predict on and to prove exports with


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


def train(
    data: AnyPath = "digits",
    model: str | Spec = DEFAULT_MODEL,
    *,
    out: AnyPath | None = None,
    recipe: Recipe | None = None,
    changes: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Train a network on a data set, from scratch, and write the run to a folder.

    Args:
        data: ``"digits"``, a folder with ``train/`` and ``val/``, or one folder of class folders.
        model: a name, or a row of your own; classes, channels and stem are fitted to the data.
        out: a folder that holds no run yet; default ``runs/DATA-MODEL-1`` and so on.
        recipe: how to train; default the one that suits the data.
        changes: columns of the recipe to change, for example ``{"epochs": 3}``.
        quiet: no progress on the error stream.

    Raises:
        InputError: if an argument is not usable.
        InterruptedRunError: on Ctrl-C; ``resume`` continues.
    """
    row = spec(model) if isinstance(model, str) else model
    wanted = dict(changes or {})
    early = (recipe or Recipe()).changed(wanted)  # refuses wrong columns before the data is read
    folder = _new_folder(out, data, row if isinstance(model, Spec) else model)
    images = _open(data, early, quiet)
    size = early.size or images.size
    settled = (recipe or recipe_for(images.name, size)).changed(wanted)
    row = replace(
        row,
        num_classes=len(images.classes),
        in_chans=images.channels,
        stem_stride=min(row.stem_stride, stem_stride_for(size)),
    )
    settled = settled.changed({"model": spec_to_dict(row), "data": images.name, "size": size})
    with needs("train", "training"):
        from featherbone.train.loop import settle_compute
    settled = settle_compute(settled, _build(settled), images.channels, len(images.train))
    write_json(folder / DATA, _facts(folder, images))
    write_json(folder / RECIPE, settled.to_dict())
    return _train(folder, settled, images, quiet)


def resume(folder: AnyPath, *, quiet: bool = False) -> Run:
    """Continue a run that was interrupted, from its last complete epoch; the result is that of the undisturbed run.

    Raises:
        InputError: if the folder holds no unfinished run, or its images have changed.
        InterruptedRunError: on Ctrl-C.
    """
    place = Path(folder)
    if not (place / RECIPE).exists():
        raise InputError(f"{place} holds no run to resume (it has no {RECIPE})")
    if (place / RESULT).exists():
        raise InputError(f"the run in {place} is finished; to train longer, start another one with more epochs")
    recipe = read_recipe(place)
    images = _open(recipe.data, recipe, quiet)
    if images.fingerprint != read_json(place / DATA)["fingerprint"]:
        raise InputError(f"the images in {recipe.data} are not those that the run in {place} began with")
    return _train(place, recipe, images, quiet)


def _train(folder: Path, recipe: Recipe, images: ImageData, quiet: bool) -> Run:
    with needs("train", "training"):
        from featherbone.train.loop import fit
    model = _build(recipe)
    preprocess = Preprocess.usual(recipe.size, images.channels, crop=recipe.crop)
    outcome = fit(model, images, preprocess, recipe, folder, quiet=quiet)
    save(model, folder / FILE_NAME, classes=images.classes, preprocess=preprocess)
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    write_json(folder / RESULT, {**asdict(outcome), **machine})
    return Run(
        folder=folder,
        recipe=recipe,
        classes=images.classes,
        test_top1=outcome.top1,
        test_top5=outcome.top5,
        test_images=len(images.val),
        train_seconds=outcome.train_seconds,
        skipped=images.skipped,
        examples=tuple(map(Path, read_json(folder / DATA)["examples"])),
    )


def _build(recipe: Recipe) -> Backbone:
    """Return the recipe's network, its weights decided by the seed.

    Raises:
        InputError: if the input is smaller than the network's stride.
    """
    torch.manual_seed(recipe.seed)
    model = spec_from_row(recipe.model).build()
    if recipe.size < model.strides[-1]:
        raise InputError(f"size={recipe.size} is too small for this network: {model.strides[-1]} pixels or more")
    return model


def _open(data: AnyPath, recipe: Recipe, quiet: bool) -> ImageData:
    with needs("train", "reading images"):
        from featherbone.data.opening import open_data
    return open_data(data, seed=recipe.seed, val_fraction=recipe.val_fraction, quiet=quiet)


def _new_folder(out: AnyPath | None, data: AnyPath, model: str | Spec) -> Path:
    if out is None:
        name = f"{Path(data).resolve().name}-{model if isinstance(model, str) else model.family}"
        return next(folder for i in count(1) if not (folder := Path("runs") / f"{name}-{i}").exists())
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out={folder} is a file: choose a folder")
    if (folder / RECIPE).exists():
        raise InputError(f"out={folder} holds a run already: resume it, or choose another folder")
    return folder


def _facts(folder: Path, images: ImageData) -> dict[str, Any]:
    return {
        "name": images.name,
        "classes": list(images.classes),
        "train_images": len(images.train),
        "val_images": len(images.val),
        "fingerprint": images.fingerprint,
        "skipped": [asdict(file) for file in images.skipped],
        "examples": [str(path) for path in _examples(folder, images)],
    }


def _examples(folder: Path, images: ImageData) -> list[Path]:
    """Return a few held-out image files; digits are no files, so one of each is written."""
    with needs("train", "writing images"):
        from PIL import Image
    found: list[Path] = []
    for label, name in list(enumerate(images.classes))[:_EXAMPLES]:
        if label not in images.val.labels:
            continue
        source = images.val.sources[images.val.labels.index(label)]
        if isinstance(source, Path):
            found.append(source)
        else:
            found.append(folder / "examples" / f"{name}.png")
            found[-1].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source).save(found[-1])
    return found
