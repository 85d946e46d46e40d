"""Recipes by name. One file each, which opens with where it comes from, how to run it and what it gave."""

from __future__ import annotations

import math
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

# what few images are learned with: batches in an epoch, if it can be; steps in a run
_SMALLEST_BATCH, _BATCHES = 8, 16
_STEPS, _STEPS_TRAINED = 1000, 300

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


def classification_recipe(data: str, size: int, *, trained: bool = False, images: int | None = None) -> Recipe:
    """Return the recipe we would start with for images with classes.

    Args:
        data: what was given as the data set.
        size: side of the input, in pixels.
        trained: whether the network starts from trained weights.
        images: how many there are to learn from; ``None`` for as many as recipes suit as they are.
    """
    if data == "digits":
        return digits.RECIPE
    if size <= 64:
        known = replace(small.RECIPE, optimizer="sgd", momentum=0.9, lr=transfer.RECIPE.lr)
        recipe = known if trained else small.RECIPE
    else:
        recipe = transfer.RECIPE if trained else photos.RECIPE
    return for_few(recipe, images, trained=trained)


def detection_recipe(data: str, size: int, *, trained: bool = False, images: int | None = None) -> Recipe:
    """Return the recipe we would start with for images with boxes; see ``classification_recipe`` for the arguments."""
    return detection.RECIPE if trained else scratch.RECIPE


def for_few(recipe: Recipe, images: int | None, *, trained: bool) -> Recipe:
    """Return a recipe with smaller batches and more epochs, if few images would give it too few steps to learn in.

    >>> few = for_few(photos.RECIPE, 40, trained=False)
    >>> few.batch_size, few.epochs
    (8, 200)
    """
    if images is None:
        return recipe
    batch = recipe.batch_size
    while batch > _SMALLEST_BATCH and images < _BATCHES * batch:
        batch //= 2
    least = _STEPS_TRAINED if trained else _STEPS
    return replace(recipe, batch_size=batch, epochs=max(recipe.epochs, math.ceil(least / math.ceil(images / batch))))
