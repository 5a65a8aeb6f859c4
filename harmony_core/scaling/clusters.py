"""K-means of numbers, exactly: in one dimension clusters are intervals, so the best cuts can be found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def one_dimensional(values: Sequence[float], count: int) -> list[list[int]]:
    """The clusters of least sum of squared distances from their means (Wang and Song 2011, R Journal 3/2).

    By dynamic programming over the sorted values, so that nothing hangs on first guesses; of equally good cuts the
    lower ones are made.

    Args:
        values: at least `count` different ones, or fewer clusters come back.
        count: clusters K.

    Returns:
        Positions in `values` by cluster, clusters of the lowest values first.
    """
    order = np.argsort(np.asarray(values), kind="stable")
    sorted_N = np.asarray(values, dtype=np.float64)[order]
    num_values, count = len(sorted_N), min(count, len(set(sorted_N.tolist())))
    sums, squares = (np.concatenate([[0.0], np.cumsum(x)]) for x in (sorted_N, sorted_N**2))
    best = np.full((count + 1, num_values + 1), np.inf)
    cuts = np.zeros((count + 1, num_values + 1), dtype=np.int64)
    best[0, 0] = 0.0
    for cluster in range(1, count + 1):
        for end in range(cluster, num_values + 1):
            starts = np.arange(cluster - 1, end)
            inside = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / (end - starts)
            total = best[cluster - 1, starts] + np.maximum(inside, 0.0)
            cuts[cluster, end] = starts[int(np.argmin(total))]
            best[cluster, end] = total.min()
    found, end = [], num_values
    for cluster in range(count, 0, -1):
        start = int(cuts[cluster, end])
        found.append(order[start:end].tolist())
        end = start
    return found[::-1]
