"""Between which two points the hypervolume reads a metric, as the candidates of a first generation say."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

# A loss is read from a point that is worse than the best of the first generation by these shares of it, at least and
# at most, to a point twice as far on its better side. A cost is read to this factor beyond the least and the greatest.
_LEAST_SPAN, _MOST_SPAN, _COST_MARGIN = 0.1, 0.2, 2.0


class Span(NamedTuple):
    """Where the hypervolume reads a metric.

    Args:
        ideal: at this and beyond, it counts as all that can be had.
        reference: at this and beyond, a candidate adds nothing.
        is_log: whether it is read on a logarithmic scale.
    """

    ideal: float
    reference: float
    is_log: bool


# It takes the values of a first generation, at least one, and `Metric.sign`.
Reference = Callable[[Sequence[float], int], Span]


def of_losses(values: Sequence[float], sign: int) -> Span:
    """What is learnt: from the median to twice as far beyond the best.

    What half of all samples reach is no achievement at any price. The median counts as at least 10% and at most 20%
    from the best, so that neither equal losses nor a generation that hardly learnt make it blind.
    """
    best = min(values) if sign > 0 else max(values)
    unit = abs(best) or 1.0
    span = min(max(abs(statistics.median(values) - best), _LEAST_SPAN * unit), _MOST_SPAN * unit)
    return Span(best - sign * 2 * span, best + sign * span, is_log=False)


def of_costs(values: Sequence[float], sign: int) -> Span:
    """What is paid: from half the least to twice the greatest, on a logarithmic scale.

    A cost of 0 counts as the ideal; one that nobody has is read against one unit.
    """
    some = [value for value in values if value > 0] or [1.0]
    points = min(some) / _COST_MARGIN, max(some) * _COST_MARGIN
    return Span(*(points if sign > 0 else points[::-1]), is_log=True)
