"""How a run is repeated: the command, and the lines of Python, that its page shows."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from featherbone.runs.folder import RECIPE, START, read_facts
from featherbone.runs.tasks import Task
from featherbone.runs.teacher import GIVEN_TEACHER
from featherbone.training import Recipe
from featherbone.weights import row_from_dict

# columns of a recipe that 'featherbone train' has options for
OPTIONS = ("epochs", "size", "batch_size", "lr", "seed", "precision", "workers", "teacher")


def command(folder: Path, recipe: Recipe, task: Task) -> str | None:
    """Return the command that repeats a run; ``None`` if no command can name its network or teacher."""
    trained = (folder / START).exists()
    weights = ["--weights", str(folder.resolve() / START)]
    network = weights if trained else task.options(row_from_dict(recipe.model))
    if network is None or recipe.teacher == GIVEN_TEACHER:
        return None
    learned = read_facts(folder).train_images
    usual = task.recipe(recipe.data, recipe.size, trained=trained, images=learned).to_dict()
    words: list[str] = []
    for column, value in recipe.to_dict().items():
        if column in ("model", "data") or value == usual[column]:
            continue
        if column == "epochs" and recipe.minutes:  # it does not count, and both together are refused
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else json.dumps(value).strip('"')
        words += [f"--{column.replace('_', '-')}", text] if column in OPTIONS else ["--set", f"{column}={text}"]
    return shlex.join(["featherbone", "train", recipe.data, *network, *words])


def python_lines(folder: Path, recipe: Recipe, task: Task) -> str:
    """Return the lines that repeat any run, to the bit on the same machine if its recipe has no ``minutes``."""
    trained = (folder / START).exists()
    network = f"weights=run / {START!r}" if trained else task.arguments
    spec_line = "" if trained else "spec = fb.read_header(run).spec\n"
    return (
        "import json, pathlib, featherbone as fb\n"
        f"run = pathlib.Path({str(folder.resolve())!r})\n"
        f"recipe = fb.Recipe.from_dict(json.loads((run / {RECIPE!r}).read_text()))\n"
        f"{spec_line}"
        f"fb.train(recipe.data, {network}, recipe=recipe)"
    )
