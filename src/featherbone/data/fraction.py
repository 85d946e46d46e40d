"""A share of the images that are learned from, drawn by a seed; those that are held out stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from featherbone.data.dataset import Data

D = TypeVar("D", bound=Data[Any])

_STREAM = 1  # beside the seed: its numbers are others than those that the split is drawn from


def with_fraction(
    data: D, strata: Callable[[Sequence[Any], Sequence[str]], list[tuple[np.ndarray, int]]], fraction: float, seed: int
) -> D:
    """Return a data set of which only a share of the images is learned from, in the order that they had.

    The same share is drawn of every stratum: of every class, or of the images with and without boxes. A class keeps
    one image at least, and boxes one image with some. With one seed, a smaller fraction is part of a larger one.

    Args:
        data: the whole set.
        strata: returns groups of the images with these targets, and how many of each must stay, as an assembler does.
        fraction: above 0, at most 1; with 1 the set is returned as it is.
        seed: decides which images are drawn.
    """
    if fraction == 1:
        return data
    random = np.random.default_rng((seed, _STREAM))
    drawn: list[int] = []
    for places, least in strata(data.train.targets, data.classes):
        members = random.permutation(places)
        drawn += members[: max(least, round(fraction * len(members)))].tolist()
    if not drawn:  # no stratum has to keep one, and each rounds to none
        drawn = [int(random.integers(len(data.train)))]
    return replace(data, train=data.train.pick(sorted(drawn)), drawn_from=len(data.train))
