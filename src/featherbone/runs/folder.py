"""A run is a folder.

```text
RUN/recipe.json             all that determines the run
    data.json               classes, fingerprint of the images, files left out, a few held-out images
    files.csv               every file that it reads, with size, times and digest
    environment.json        where it is computed: versions, device, threads; and changes that were accepted
    start.safetensors       weights that it began with  (if not from scratch)
    writer.json             who writes to it, or did so last: process, machine, since when; .lock beside it is held
    examples/               held-out images that lie in no files of their own
    checkpoints/            the last two states that it can be resumed from
    history.csv             one row per epoch
    tensorboard/            the same for TensorBoard
    model.safetensors       the trained network     (when finished)
    result.json             what it reached         (when finished)
    run.html                curves, confusion, worst mistakes as pictures  (when finished)
```
"""

from __future__ import annotations

import warnings
from pathlib import Path

from featherbone.files import AnyPath, read_json
from featherbone.training import Recipe
from featherbone.training.recipe import RENAMED

RECIPE, DATA, RESULT, START = "recipe.json", "data.json", "result.json", "start.safetensors"
FILES, ENVIRONMENT, HISTORY = "files.csv", "environment.json", "history.csv"
CHECKPOINTS, EXAMPLES, PAGE = "checkpoints", "examples", "run.html"


def read_recipe(run: AnyPath) -> Recipe:
    """Return the recipe of a run's folder; of a single weight file, whose recipe is not known, an empty one.

    Columns that were called otherwise when the run began are read under their present names, with a warning.

    Raises:
        InputError: if it cannot be read.
    """
    if not Path(run).is_dir():
        return Recipe()
    path = Path(run) / RECIPE
    values = read_json(path)
    old = [name for name in RENAMED if name in values]
    if old:
        words = ", ".join(f"{name!r} is {RENAMED[name]!r} now" for name in old)
        warnings.warn(f"{path} has older names of columns: {words}; its values are kept", stacklevel=2)
    return Recipe.from_dict({RENAMED.get(name, name): value for name, value in values.items()})
