"""What a recipe says of learning: which weights learn how fast, and when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from featherbone.errors import InputError
from featherbone.training.muon import Muon
from featherbone.training.recipe import Recipe


def optimizer_for(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer over all weights of a network that are not frozen for good."""
    groups = parameter_groups(model, recipe)
    if recipe.optimizer == "muon":
        dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
        return Muon(groups, recipe.lr, recipe.momentum, dtype=dtype)
    fused = not recipe.freeze_epochs  # one kernel for all weights: faster, but no weight may begin late
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=fused)


def share_of_lr(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of a step, as a share of the highest.

    >>> [round(share_of_lr(Recipe(warmup=0, schedule="linear"), step, 4), 2) for step in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    >>> [round(share_of_lr(Recipe(warmup=0, schedule="steps"), step, 4), 2) for step in range(4)]
    [1.0, 1.0, 0.1, 0.01]
    """
    rising = round(recipe.warmup * steps)
    if step < rising:
        return (step + 1) / rising
    if recipe.schedule == "steps":
        return 0.1 ** sum(step >= round(share * steps) for share in recipe.milestones)
    left = max(0.0, 1 - (step - rising) / max(1, steps - rising))
    if recipe.schedule == "cosine":
        return 0.5 * (1 - math.cos(math.pi * left))
    return left ** (1.0 if recipe.schedule == "linear" else recipe.power)


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Return groups of weights that learn alike: by depth (``layer_decay``), and norms and biases without decay.

    For Muon, weights of convolutions that a norm follows (they have no bias) are groups of their own.
    """
    frozen = {id(weight) for part in parts(model, recipe.freeze) for weight in part.parameters()}
    muon = recipe.optimizer == "muon"
    found = (part for part in model.modules() if isinstance(part, nn.Conv2d) and part.bias is None)
    convolutions = {id(part.weight): part.groups for part in found} if muon else {}
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for depth, (_, section) in enumerate(reversed(sections(model))):
        for weight in section.parameters():
            if id(weight) not in frozen:
                decayed = recipe.decay_norms or weight.ndim > 1
                kind = (recipe.layer_decay**depth, decayed, id(weight) in convolutions)
                groups.setdefault(kind, []).append(weight)
    if not groups:
        raise InputError(f"freeze={', '.join(recipe.freeze)} leaves nothing to learn")
    return [
        {
            "params": weights,
            "lr": recipe.lr * share,
            "weight_decay": recipe.weight_decay if decayed and not turned else 0.0,
            **({"orthogonal": True, "parts": [convolutions[id(weight)] for weight in weights]} if turned else {}),
        }
        for (share, decayed, turned), weights in groups.items()
    ]


def sections(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return a network's parts from the image to the output: stem, every stage, then what follows."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in model.named_children():
        inner = sections(child) if name == "backbone" else list(child.named_children()) if name == "stages" else []
        found += [(f"{name}.{part}", module) for part, module in inner] or [(name, child)]
    return found


def parts(model: nn.Module, names: Iterable[str]) -> Iterator[nn.Module]:
    """Yield the parts of a network that are named.

    Raises:
        InputError: if there is no such part.
    """
    known = dict(model.named_modules())
    for name in names:
        if name not in known:
            allowed = ", ".join(section for section, _ in sections(model))
            raise InputError(f"freeze={name!r} is not allowed: a part of this network, for example {allowed}")
        yield known[name]


def trunk(model: nn.Module) -> list[nn.Module]:
    """Return stem and stages: what ``freeze_epochs`` leaves alone at first."""
    body = {"stem", "stages", "backbone"}
    return [module for name, module in sections(model) if name.partition(".")[0] in body]
