"""The teacher of a run, for inputs that are prepared as the student's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.errors import InputError
from featherbone.spec import Backbone
from featherbone.training import Recipe
from featherbone.weights import load
from featherbone.weights.open import describe

GIVEN_TEACHER = "a module"  # in a recipe: the teacher has no name, and is given again to resume


def teacher_of(
    recipe: Recipe, given: nn.Module | None, classes: Sequence[str], preprocess: Preprocess
) -> nn.Module | None:
    """Return the teacher, for inputs that are prepared as the student's.

    Raises:
        InputError: if it is missing, or knows other classes.
    """
    if given is not None or not recipe.teacher:
        return given
    if recipe.teacher == GIVEN_TEACHER:
        raise InputError("this run learns from a teacher that was given as a module: give it again, teacher=...")
    header, own = describe(recipe.teacher)
    if header.classes != tuple(classes):
        raise InputError(
            f"teacher={recipe.teacher} knows other classes than the data: {', '.join(header.classes[:5])} ..."
        )
    if own.channels != preprocess.channels or own.bgr != preprocess.bgr:
        raise InputError(f"teacher={recipe.teacher} reads images of other channels than the student")
    return _Renormalized(load(recipe.teacher, Backbone), preprocess, own)


class _Renormalized(nn.Module):
    """A network for inputs that were normalized for another one."""

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
        outputs: Tensor = self.model(x * self.scale + self.shift)
        return outputs
