"""What came of a search: candidates with their results, the front, its hypervolume, what was spent. No torch."""

from harmony_core.results.candidates import measured
from harmony_core.results.fronts import constrained, front_again, pareto_front
from harmony_core.results.views import (
    front,
    leaderboard,
    lineage,
    promoted_results,
    reference_latency,
    violation,
)

__all__ = [
    "constrained",
    "front",
    "front_again",
    "leaderboard",
    "lineage",
    "measured",
    "pareto_front",
    "promoted_results",
    "reference_latency",
    "violation",
]
