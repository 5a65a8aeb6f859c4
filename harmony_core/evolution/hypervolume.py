"""One number for a whole front: the share of the objective space that it dominates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import moocore
import numpy as np
import polars as pl


def hypervolume(front: pl.DataFrame, objectives: Sequence[str], frame: Mapping[str, Mapping[str, float]]) -> float:
    """Volume between a front and the reference point, over that between ideal and reference point.

    Both points are the manifest's, fixed at the search's start, so that generations compare. A point
    beyond the reference adds nothing; one beyond the ideal counts as there. 0 is nothing, 1 is all.

    Args:
        front: rows with the objectives' columns.
        objectives: names of what is minimised.
        frame: `reference` and `ideal`, each a value per objective.
    """
    if front.is_empty():
        return 0.0
    ideal_M = np.array([frame["ideal"][name] for name in objectives], dtype=np.float64)
    reference_M = np.array([frame["reference"][name] for name in objectives], dtype=np.float64)
    values_NM = front.select(pl.col(objectives).cast(pl.Float64)).to_numpy()
    scaled_NM = np.maximum((values_NM - ideal_M) / (reference_M - ideal_M), 0.0)
    return float(moocore.hypervolume(scaled_NM, ref=np.ones(len(objectives))))
