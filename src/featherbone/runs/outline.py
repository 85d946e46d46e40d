"""What is said of a run before its first epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherbone.data.dataset import AnyData
from featherbone.errors import counted
from featherbone.files import AnyPath
from featherbone.runs.folder import RECIPE
from featherbone.training import RECIPES, Recipe, nearest_recipe
from featherbone.weights import Network

if TYPE_CHECKING:
    from featherbone.runs.tasks import Task


def tell_outline(
    log: Callable[[str], None],
    folder: Path,
    images: AnyData,
    task: Task,
    network: Network,
    recipe: Recipe,
    *,
    base: Recipe | None = None,
    weights: AnyPath | None = None,
) -> None:
    """Tell network, data, recipe and machine, a line each; of the recipe only what differs from the one with a name.

    Args:
        log: is told the lines.
        folder: of the run.
        images: the data set.
        task: what is learned.
        network: what learns.
        recipe: in full.
        base: the recipe that was asked for, or suits the data; ``None`` for the one that is nearest.
        weights: what the network starts from.
    """
    parameters = sum(weight.numel() for weight in network.parameters())
    learned = f"{counted(len(images.train), 'image')} to learn from"
    if images.drawn_from is not None:
        learned += f" (drawn from {images.drawn_from:,}: fraction {recipe.fraction:g})"
    channels = {1: "grey", 3: "colour"}.get(network.spec.in_chans, f"{network.spec.in_chans} channels")
    left_out = f", {counted(len(images.skipped), 'file')} left out" if images.skipped else ""
    order = "channels last" if recipe.channels_last else "channels first"
    lines = {
        "network": f"{task.model_name(network.spec)}, {counted(parameters, 'parameter')}, "
        f"{f'starts from {weights}' if weights else 'starts from scratch' if weights is None else 'goes on'}",
        "data": f"{images.name}: {learned}, {len(images.val):,} held out, "
        f"{counted(len(images.classes), 'class', 'classes')}{left_out}",
        "input": f"{recipe.size} x {recipe.size} pixels, {channels}",
        "recipe": _recipe(recipe, base),
        "compute": f"{recipe.precision}, {order}, {counted(recipe.workers or 0, 'loader process', 'loader processes')}",
        "run": f"{folder} ({RECIPE} there has all {len(fields(Recipe))} columns)",
    }
    for name, line in lines.items():
        log(f"{name:<9}{line}")


def _recipe(recipe: Recipe, base: Recipe | None) -> str:
    """Return the name of a recipe, and what differs from it."""
    named = next((name for name, row in RECIPES.items() if row == base), None)
    if base is None:
        named = nearest_recipe(recipe)
        base = RECIPES[named]
    changed = recipe.differences(base)
    words = ", ".join(f"{name} {_value(new)} (not {_value(old)})" for name, (new, old) in changed.items())
    own = named or "your own"
    return f"{own}, but {words}" if words else own


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_value, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"
