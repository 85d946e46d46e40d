"""How well one order tells another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's coefficient; 0 where one of them does not vary.

    >>> round(rank_correlation([1, 2, 3], [10, 30, 20]), 6)
    0.5
    """
    left, right = _ranks(np.asarray(first, float)), _ranks(np.asarray(second, float))
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[place]  # equal values share their mean rank
