"""A run is a folder.

```text
RUN/recipe.json             all that determines the run
    data.json               classes, fingerprint of the images, files left out, a few held-out images
    start.safetensors       weights that it began with  (if not from scratch)
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
