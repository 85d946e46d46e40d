"""What is settled before a run begins and written to its folder: recipe, facts of the data, weights to start from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.errors import InputError, needs
from featherbone.files import write_json
from featherbone.models import spec, spec_from_row, stem_stride_for
from featherbone.spec import Backbone, Spec, reset_head, spec_to_dict
from featherbone.train import Recipe, recipe_for
from featherbone.verbs.folder import DATA, RECIPE, START, AnyPath, describe, read_json
from featherbone.weights import load, read_header, save

if TYPE_CHECKING:
    from featherbone.data.sets import ImageData

DEFAULT_MODEL = "shufflenet_v2_x0_5"
GIVEN_TEACHER = "a module"  # in a recipe: the teacher has no name, and is given again to resume
_EXAMPLES = 10  # held-out images noted in a run, to try predict on and to prove exports with


def prepare(
    folder: Path,
    data: AnyPath,
    model: str | Spec | None,
    weights: AnyPath | None,
    recipe: Recipe | None,
    changes: Mapping[str, Any],
    *,
    quiet: bool,
    say: Callable[[str], None],
) -> ImageData:
    """Settle a run and write what determines it; the recipe comes last: once it is there, the run can begin.

    Args:
        folder: of the run.
        data: the data set.
        model: a name or a row; ``None`` for the one of ``weights``, or the default.
        weights: a run or weight file to start from.
        recipe: how to train; ``None`` for what suits the data.
        changes: columns of the recipe to change.
        quiet: no progress on the error stream.
        say: told the recipe in full.

    Raises:
        InputError: if an argument is not usable.
    """
    early = (recipe or Recipe()).changed(changes)  # refuses wrong columns before the data is read
    if weights is None:
        row = spec(model or DEFAULT_MODEL) if not isinstance(model, Spec) else model
        start = None
    else:
        row, start = _start_of(weights, model)
    images = open_images(data, early, quiet=quiet)
    known = read_header(weights).preprocess if weights is not None else None
    size = early.size or (known.size if known else images.size)
    settled = (recipe or recipe_for(images.name, size)).changed(changes)
    if start is None:
        stride = min(row.stem_stride, stem_stride_for(size))
        row = replace(row, num_classes=len(images.classes), in_chans=images.channels, stem_stride=stride)
    else:
        torch.manual_seed(settled.seed)
        if read_header(weights or "").classes != images.classes:
            start = reset_head(start, len(images.classes))
        row = start.spec
    settled = settled.changed({"model": spec_to_dict(row), "data": images.name, "size": size})
    with needs("train", "training"):
        from featherbone.train.compute import settled as computed
        from featherbone.train.optimizer import parameter_groups
    network = start or build(settled)
    parameter_groups(network, settled)  # refuses parts that there are not
    settled = computed(settled, network, replace(images, channels=row.in_chans))
    if start is not None:
        preprocess = known.resized(size) if known else None
        save(start, folder / START, classes=images.classes, preprocess=preprocess)
    say(", ".join(f"{name} {value}" for name, value in settled.to_dict().items() if name != "model"))
    write_json(folder / DATA, _facts(folder, images))
    write_json(folder / RECIPE, settled.to_dict())
    return images


def build(recipe: Recipe) -> Backbone:
    """Return the recipe's network, its weights decided by the seed.

    Raises:
        InputError: if the input is smaller than the network's stride.
    """
    torch.manual_seed(recipe.seed)
    model = spec_from_row(recipe.model).build()
    if recipe.size < model.strides[-1]:
        raise InputError(f"size={recipe.size} is too small for this network: {model.strides[-1]} pixels or more")
    return model


def beginning(folder: Path, recipe: Recipe, channels: int) -> tuple[Backbone, Preprocess]:
    """Return the network as a run begins, and how its images are prepared."""
    usual = Preprocess.usual(recipe.size, channels, crop=recipe.crop)
    if not (folder / START).exists():
        return build(recipe), usual
    known = read_header(folder / START).preprocess
    return load(folder / START).train(), replace(known, crop=recipe.crop) if known else usual


def open_images(data: AnyPath, recipe: Recipe, *, run: Path | None = None, quiet: bool) -> ImageData:
    """Return the images that a recipe is about; for a ``run`` that has begun, without decoding them all again.

    Raises:
        InputError: if they cannot be read.
    """
    with needs("train", "reading images"):
        from featherbone.data.opening import open_data
        from featherbone.data.sets import Looked, Skipped
    looked = None
    if run is not None:
        facts = read_json(run / DATA)
        looked = Looked(tuple(Skipped(**file) for file in facts["skipped"]), facts["channels"] == 1)
    return open_data(data, seed=recipe.seed, val_fraction=recipe.val_fraction, looked=looked, quiet=quiet)


def teacher_of(recipe: Recipe, given: nn.Module | None, images: ImageData, preprocess: Preprocess) -> nn.Module | None:
    """Return the teacher, for inputs that are prepared as the student's.

    Raises:
        InputError: if it is missing, or knows other classes.
    """
    if given is not None or not recipe.teacher:
        return given
    if recipe.teacher == GIVEN_TEACHER:
        raise InputError("this run learns from a teacher that was given as a module: give it again, teacher=...")
    header, own = describe(recipe.teacher)
    if header.classes != images.classes:
        raise InputError(
            f"teacher={recipe.teacher} knows other classes than the data: {', '.join(header.classes[:5])} ..."
        )
    if own.channels != preprocess.channels or own.bgr != preprocess.bgr:
        raise InputError(f"teacher={recipe.teacher} reads images of other channels than the student")
    return _Renormalised(load(recipe.teacher), preprocess, own)


def new_folder(out: AnyPath | None, data: AnyPath, model: str | Spec | None) -> Path:
    """Return the folder of a new run.

    Raises:
        InputError: if it is a file, or holds a run.
    """
    if out is None:
        family = model.family if isinstance(model, Spec) else model or DEFAULT_MODEL
        name = f"{Path(data).resolve().name}-{family}"
        return next(folder for i in count(1) if not (folder := Path("runs") / f"{name}-{i}").exists())
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out={folder} is a file: choose a folder")
    if (folder / RECIPE).exists():
        raise InputError(f"out={folder} holds a run already: resume it, or choose another folder")
    return folder


class _Renormalised(nn.Module):
    """A network for inputs that were normalised for another one."""

    def __init__(self, model: nn.Module, given: Preprocess, wanted: Preprocess) -> None:
        super().__init__()
        self.model = model
        mean, std = torch.tensor(given.mean), torch.tensor(given.std)
        own_mean, own_std = torch.tensor(wanted.mean), torch.tensor(wanted.std)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", (std / own_std).view(-1, 1, 1))
        self.register_buffer("shift", ((mean - own_mean) / own_std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.model(x * self.scale + self.shift)
        return answers


def _start_of(weights: AnyPath, model: str | Spec | None) -> tuple[Spec, Backbone]:
    start = load(weights)
    named = spec(model) if isinstance(model, str) else model
    if named is not None:
        same = replace(
            named, num_classes=start.spec.num_classes, in_chans=start.spec.in_chans, stem_stride=start.spec.stem_stride
        )
        if same != start.spec:
            raise InputError(f"weights={weights} are those of another network than model={model}: leave model out")
    return start.spec, start


def _facts(folder: Path, images: ImageData) -> dict[str, Any]:
    return {
        "name": images.name,
        "classes": list(images.classes),
        "train_images": len(images.train),
        "val_images": len(images.val),
        "channels": images.channels,
        "fingerprint": images.fingerprint,
        "skipped": [asdict(file) for file in images.skipped],
        "examples": [str(path) for path in _examples(folder, images)],
    }


def _examples(folder: Path, images: ImageData) -> list[Path]:
    """Return a few held-out image files; what is no file, such as a digit, is written as one."""
    with needs("train", "writing images"):
        from featherbone.data.images import read_image
    found: list[Path] = []
    for label, name in list(enumerate(images.classes))[:_EXAMPLES]:
        if label not in images.val.labels:
            continue
        source = images.val.sources[images.val.labels.index(label)]
        if isinstance(source, Path):
            found.append(source)
        else:
            safe = re.sub(r"[^\w-]", "_", name)[:60]  # a table or shard may call its classes anything
            found.append(folder / "examples" / (f"{safe}.png" if safe == name else f"{label}-{safe}.png"))
            found[-1].parent.mkdir(parents=True, exist_ok=True)
            read_image(source, "L" if images.channels == 1 else "RGB").save(found[-1])
    return found
