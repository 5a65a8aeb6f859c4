"""One number for what came of a candidate, where an algorithm needs an order or something to fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from harmony_core.evolution.context import Trial
from harmony_core.evolution.scored import Scored, violation
from harmony_core.metrics import metric
from harmony_core.search.objective import Objective


def merits(trials: Iterable[Trial], objectives: Sequence[Objective]) -> dict[str, float]:
    """The merit of every trial that ended well, by architecture id; higher is better.

    It is minus the mean of the objectives, each in standard deviations from its mean over these trials. Who misses a
    target comes after all who miss none, by the sum of the relative excesses.

    Args:
        trials: the history; those that failed or whose results are not known are left out.
        objectives: what is minimised, or maximised where more is better.

    Raises:
        UserError: a trial that is ok lacks an objective.
    """
    alive = [_scored(trial) for trial in trials if trial.ok]
    if not alive:
        return {}
    signs_O = np.array([metric(one.name).sign for one in objectives])
    values_NO = np.array([[trial.value(one.name) for one in objectives] for trial in alive]) * signs_O
    spread_O = values_NO.std(0)
    centred_NO = (values_NO - values_NO.mean(0)) / np.where(spread_O > 0, spread_O, 1.0)
    merits_N = -centred_NO.mean(1)
    missed_N = np.array([violation(trial, objectives) for trial in alive])
    merits_N = np.where(missed_N > 0, merits_N.min() - missed_N, merits_N)
    return {trial.architecture_id: float(merit) for trial, merit in zip(alive, merits_N, strict=True)}


def _scored(trial: Trial) -> Scored:
    return Scored(trial.generation, trial.candidate, trial.architecture_id, trial.status or "", trial.metrics)
