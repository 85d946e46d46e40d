"""Weights of Megvii's ShuffleNet V2 in torchvision's: the same function of images as its scripts normalize them.

Megvii's units let even channels pass and work on odd ones; torchvision's halve their input and shuffle what they made.
Channels of equal lifetime, which is how many units they pass untouched, are one another's: so orders are found in which
both read the same.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REPEATS = (4, 8, 4)
# the parts of both branches, convolutions and norms
PROJECTION, MAIN = ((0, 1), (2, 3)), ((0, 1), (3, 4), (5, 6))
NORM = ("weight", "bias", "running_mean", "running_var")


def lifetimes(width: int, units: int) -> tuple[list[int], list[int]]:
    """Return how many units each channel passes, in Megvii's order and in torchvision's."""
    half = width // 2

    def theirs(i: int) -> int:
        passed = 0
        while passed < units and i % 2 == 0:
            i, passed = i // 2, passed + 1
        return passed

    def torchvisions(i: int) -> int:
        passed = 0
        while passed < units and i < half:
            i, passed = 2 * i, passed + 1
        return passed

    return [theirs(i) for i in range(width)], [torchvisions(i) for i in range(width)]


def pairs(theirs: Mapping[int, int], torchvisions: Mapping[int, int]) -> dict[int, int]:
    """Return for each place in torchvision's order the place in Megvii's that lives as long."""
    kinds: dict[int, list[int]] = defaultdict(list)
    for i, lifetime in theirs.items():
        kinds[lifetime].append(i)
    found = {j: kinds[lifetime].pop(0) for j, lifetime in torchvisions.items()}
    assert not any(kinds.values())
    return found


def branch(
    state: Mapping[str, Tensor],
    names: tuple[str, str],
    parts: Sequence[tuple[int, int]],
    read: Sequence[int],
    made: Sequence[int],
) -> dict[str, Tensor]:
    """Return a branch's tensors with the channels that it reads and makes in other orders."""
    (source, target), new = names, {}
    for position, (convolution, norm) in enumerate(parts):
        weight = state[f"{source}.{convolution}.weight"]
        last = position == len(parts) - 1
        if weight.shape[1] == 1 and position == 0:  # depthwise: what it reads is what it makes
            rows = list(read)
        elif last:
            rows = list(made)
        else:
            rows = list(range(len(weight)))
        columns = list(read) if position == 0 and weight.shape[1] > 1 else None
        if last and len(parts) == 2:  # of the projection, behind the depthwise convolution
            columns = list(read)
        new[f"{target}.{convolution}.weight"] = (weight if columns is None else weight[:, columns])[rows]
        for part in NORM:
            new[f"{target}.{norm}.{part}"] = state[f"{source}.{norm}.{part}"][rows]
        new[f"{target}.{norm}.num_batches_tracked"] = torch.tensor(0)
    return new


def torchvision_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[int]]:
    """Return the backbone's tensors under torchvision's names, and which of Megvii's channels stage 4 makes where.

    The file reads blue first, 0 to 1; torchvision's scripts give red first, normalized. Scale and shift go into the
    first convolution and its norm: exact but for the image's border, where zeros are padded.
    """
    weight = state["first_conv.0.weight"].flip(1)
    new = {"conv1.0.weight": weight * torch.tensor(STD).view(1, 3, 1, 1)}
    new |= {f"conv1.1.{part}": state[f"first_conv.1.{part}"] for part in NORM}
    new["conv1.1.running_mean"] = new["conv1.1.running_mean"] - weight.sum((2, 3)) @ torch.tensor(MEAN)
    new["conv1.1.num_batches_tracked"] = torch.tensor(0)
    order = list(range(len(weight)))  # of Megvii's channels, in torchvision's places
    for stage, repeats in enumerate(REPEATS, 2):
        half = len(state[f"stage{stage}.0.branch_main.5.weight"])
        for unit in range(repeats):
            source, target, left = f"stage{stage}.{unit}", f"stage{stage}.{unit}", repeats - 1 - unit
            theirs, torchvisions = lifetimes(2 * half, left)
            main = pairs({i: theirs[half + i] for i in range(half)}, {j: torchvisions[2 * j + 1] for j in range(half)})
            if unit:
                passed, work = order[:half], order[half:]
                assert all(i % 2 == 0 for i in passed)
                read, first = [i // 2 for i in work], [i // 2 for i in passed]
            else:
                projected = pairs({i: theirs[i] for i in range(half)}, {j: torchvisions[2 * j] for j in range(half)})
                read, first = order, [projected[j] for j in range(half)]
                names = (f"{source}.branch_proj", f"{target}.branch1")
                new |= branch(state, names, PROJECTION, order, first)
            second = [main[j] for j in range(half)]
            new |= branch(state, (f"{source}.branch_main", f"{target}.branch2"), MAIN, read, second)
            order = [i for both in zip(first, (half + i for i in second), strict=True) for i in both]
    return new, order
