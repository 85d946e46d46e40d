"""How a run is repeated: the command, and the lines of Python, that its page shows."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

from featherbone.detect.detector import DetectorSpec
from featherbone.detect.necks import NECKS
from featherbone.models import list_models, spec
from featherbone.runs.folder import RECIPE, START
from featherbone.runs.teacher import GIVEN_TEACHER
from featherbone.spec import Spec
from featherbone.training import Recipe, recipe_for
from featherbone.weights import Row, row_from_dict

# columns of a recipe that 'featherbone train' has options for
OPTIONS = ("epochs", "size", "batch_size", "lr", "seed", "precision", "workers", "teacher")


def network_name(row: Spec) -> str | None:
    """Return the name of a network, whatever its classes, channels and stem; ``None`` for a row that has none."""
    for name in list_models():
        named = spec(name)
        if type(named) is not type(row) or row.stem_stride > named.stem_stride:
            continue
        if replace(named, num_classes=row.num_classes, in_chans=row.in_chans, stem_stride=row.stem_stride) == row:
            return name
    return None


def shown_name(row: Row) -> str:
    """Return what people call a network; of a detector its backbone, neck and head."""
    if isinstance(row, DetectorSpec):
        return f"{shown_name(row.backbone)} · {_neck_name(row) or row.neck.kind} · {row.head}"
    return network_name(row) or row.family


def command(folder: Path, recipe: Recipe) -> str | None:
    """Return the command that repeats a run; ``None`` if its network or teacher cannot be asked for in one."""
    row = row_from_dict(recipe.model)
    trained = (folder / START).exists()
    network = ["--weights", str(folder.resolve() / START)] if trained else _asked(row)
    if network is None or recipe.teacher == GIVEN_TEACHER:
        return None
    boxes = isinstance(row, DetectorSpec)
    usual = recipe_for(recipe.data, recipe.size, boxes=boxes, trained=trained).to_dict()
    words: list[str] = []
    for column, value in recipe.to_dict().items():
        if column in ("model", "data") or value == usual[column]:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else json.dumps(value).strip('"')
        words += [f"--{column.replace('_', '-')}", text] if column in OPTIONS else ["--set", f"{column}={text}"]
    return shlex.join(["featherbone", "train", recipe.data, *network, *words])


def python_lines(folder: Path, recipe: Recipe) -> str:
    """Return the lines that repeat any run, to the bit on the same machine."""
    if (folder / START).exists():
        network = f"weights=run / {START!r}"
    elif isinstance(row_from_dict(recipe.model), DetectorSpec):
        network = "spec.backbone, neck=spec.neck, head=spec.head"
    else:
        network = "spec"
    spec_line = "" if network.startswith("weights") else "spec = fb.read_header(run).spec\n"
    return (
        "import json, pathlib, featherbone as fb\n"
        f"run = pathlib.Path({str(folder.resolve())!r})\n"
        f"recipe = fb.Recipe.from_dict(json.loads((run / {RECIPE!r}).read_text()))\n"
        f"{spec_line}"
        f"fb.train(recipe.data, {network}, recipe=recipe)"
    )


def _asked(row: Row) -> list[str] | None:
    """Return the options that ask for a network that starts from nothing; ``None`` if it has no name."""
    if not isinstance(row, DetectorSpec):
        name = network_name(row)
        return ["--model", name] if name else None
    name, neck = network_name(row.backbone), _neck_name(row)
    # a detector's stem is never fitted to the images
    if name is None or neck is None or row.backbone.stem_stride != spec(name).stem_stride:
        return None
    return ["--model", name, "--neck", neck, "--head", row.head]


def _neck_name(row: DetectorSpec) -> str | None:
    return next((name for name, neck in NECKS.items() if neck == row.neck), None)
