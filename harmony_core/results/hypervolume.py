"""One number for a whole front: the share of the objective space that it dominates."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
import polars as pl
from numpy.typing import NDArray

from harmony_core.metrics import sign
from harmony_core.search.frame import Frame


def hypervolume(front: pl.DataFrame, objectives: Sequence[str], frame: Frame) -> float:
    """Volume between a front and the reference point, over that between ideal and reference point.

    A frame is fixed for a search, so that its generations compare, as do searches that share one. A point beyond the
    reference adds nothing; one beyond the ideal counts as there. 0 is nothing, 1 is all.

    Args:
        front: rows with the objectives' columns.
        objectives: names of metrics; the frame holds them.
        frame: both points, and which metrics are read on a logarithmic scale.
    """
    if front.is_empty():
        return 0.0
    values_NM = front.select(pl.col(objectives).cast(pl.Float64)).to_numpy()
    scaled_NM = np.column_stack([_between(values_NM[:, column], name, frame) for column, name in enumerate(objectives)])
    return float(moocore.hypervolume(scaled_NM, ref=np.ones(len(objectives))))


def _between(values_N: NDArray[np.float64], name: str, frame: Frame) -> NDArray[np.float64]:
    """Where values lie between the ideal, 0, and the reference point, 1; those beyond the ideal at 0."""
    ideal, reference = frame.ideal[name], frame.reference[name]
    # This also keeps a 0, which has no logarithm, at the ideal, or where more is better at the reference.
    kept_N = np.maximum(values_N, ideal) if sign(name) > 0 else np.clip(values_N, reference, ideal)
    if name in frame.log:
        kept_N, ideal, reference = np.log(kept_N), np.log(ideal), np.log(reference)
    scaled_N: NDArray[np.float64] = (kept_N - ideal) / (reference - ideal)
    return scaled_N
