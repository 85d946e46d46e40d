"""Recipes by name. One file each, which opens with where it comes from, how to run it and what it gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from featherbone.errors import InputError, check_type, nearest
from featherbone.training.recipe import Recipe
from featherbone.training.recipes import (
    cspnet,
    densenet,
    detection,
    digits,
    modern,
    photos,
    scratch,
    shufflenet,
    small,
    transfer,
)

RECIPES: Mapping[str, Recipe] = {
    "densenet": densenet.RECIPE,
    "shufflenet": shufflenet.RECIPE,
    "cspnet": cspnet.RECIPE,
    "modern": modern.RECIPE,
    "small": small.RECIPE,
    "photos": photos.RECIPE,
    "transfer": transfer.RECIPE,
    "digits": digits.RECIPE,
    "detection": detection.RECIPE,
    "scratch": scratch.RECIPE,
}


def recipe_named(name: str) -> Recipe:
    """Return a recipe.

    Raises:
        InputError: if there is none of this name.
    """
    check_type("recipe", name, str, f"a row, or one of {', '.join(RECIPES)}")
    if name not in RECIPES:
        raise InputError(f"recipe={name!r} is not allowed{nearest(name, RECIPES)}: {', '.join(RECIPES)}")
    return RECIPES[name]


def nearest_recipe(recipe: Recipe) -> str:
    """Return the name of the recipe that has most columns in common with a given one."""
    return min(RECIPES, key=lambda name: len(recipe.differences(RECIPES[name])))


def classification_recipe(data: str, size: int, *, trained: bool = False) -> Recipe:
    """Return the recipe we would start with for images with classes.

    Args:
        data: what was given as the data set.
        size: side of the input, in pixels.
        trained: whether the network starts from trained weights.
    """
    if data == "digits":
        return digits.RECIPE
    if size <= 64:
        return replace(small.RECIPE, lr=transfer.RECIPE.lr) if trained else small.RECIPE
    return transfer.RECIPE if trained else photos.RECIPE


def detection_recipe(data: str, size: int, *, trained: bool = False) -> Recipe:
    """Return the recipe we would start with for images with boxes; see ``classification_recipe`` for the arguments."""
    return detection.RECIPE if trained else scratch.RECIPE
