"""Constrained non-dominated ranks and crowding distances (Deb et al. 2002, NSGA-II, sections III and VI).

N candidates, M objectives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harmony_core.evolution.scored import Scored, violation
from harmony_core.metrics import metric
from harmony_core.search.objective import Objective


def ranks_and_crowding(scored: Sequence[Scored], objectives: Sequence[Objective]) -> list[tuple[int, float | None]]:
    """Rank (0 is best) and crowding distance of candidates that are ok.

    Candidates that meet all targets are sorted into non-dominated fronts. The others come after
    them by violation, the smaller the better, with no crowding. Nothing here draws random numbers;
    ties inside pymoo follow the order of `scored`, which callers make total.
    """
    # This import takes half a second, and only a selection needs it; every command reads a configuration, and so
    # imports the algorithms.
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    violations = [violation(one, objectives) for one in scored]
    result: list[tuple[int, float | None]] = [(0, None)] * len(scored)
    feasible = [index for index, amount in enumerate(violations) if amount == 0]
    num_fronts = 0
    if feasible:
        # Values where more is better are negated: whatever follows minimises.
        signs = [metric(objective.name).sign for objective in objectives]
        values_NM = np.array(
            [[s * scored[i].value(o.name) for o, s in zip(objectives, signs, strict=True)] for i in feasible],
            dtype=np.float64,
        )
        fronts = NonDominatedSorting().do(values_NM)
        num_fronts = len(fronts)
        for rank, members in enumerate(fronts):
            distances = get_crowding_function("cd").do(values_NM[members])
            for member, distance in zip(members, distances, strict=True):
                result[feasible[int(member)]] = (rank, float(distance))
    levels = {amount: level for level, amount in enumerate(sorted(set(violations) - {0.0}))}
    for index, amount in enumerate(violations):
        if amount > 0:
            result[index] = (num_fronts + levels[amount], None)
    return result
