"""What the pilot makes of its trainings: who runs on, what is chosen, what regret is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from benchmarks.baselines import BUDGET
from benchmarks.pilot.campaign import BEHIND, SCREENED, Trial, best_rates, best_settings, mean_regret, race, scores
from benchmarks.pilot.settings import BEFORE, RATES
from benchmarks.pilot.stacks import stacks

LOSSES = {BEFORE: 3.0, "good": 2.0, "fair": 2.0 + BEHIND / 2, "bad": 2.0 + 2 * BEHIND}


class Runs:
    """A campaign whose trainings are a formula."""

    def __init__(self, late: dict[str, float]) -> None:
        self.trials: list[Trial] = []
        self._late = late

    def run(self, trials: Iterable[Trial]) -> list[dict[str, Any]]:
        asked = list(trials)
        self.trials += asked
        return [self._row(trial) for trial in asked]

    def _row(self, trial: Trial) -> dict[str, Any]:
        late = self._late.get(trial.setting, 0.0) if trial.stack == SCREENED[-1] else 0.0
        bits = LOSSES[trial.setting] + late
        return {"stack": trial.stack, "setting": trial.setting, "rate": trial.rate, "val_bits_per_byte": bits}


def test_every_mixer_has_a_stack_of_the_budget() -> None:
    sizes = [stack.num_active_non_embedding_params() for stack in stacks().values()]
    assert BUDGET["min"] <= min(sizes) <= max(sizes) <= BUDGET["max"]


def test_who_falls_behind_runs_no_further_and_what_stood_before_always_does() -> None:
    runs = Runs({"fair": 6 * BEHIND})
    found, regret = race(runs, list(LOSSES))  # type: ignore[arg-type]
    ran = {name: [trial.stack for trial in runs.trials if trial.setting == name] for name in LOSSES}
    assert ran == {BEFORE: list(SCREENED), "good": list(SCREENED), "fair": list(SCREENED), "bad": [SCREENED[0]]}
    # The last stack alone brings one too far behind in the mean.
    assert regret.keys() == {BEFORE, "good"}
    assert regret["good"] == pytest.approx(0.0)
    assert regret[BEFORE] == pytest.approx(1.0)
    assert best_settings(regret, 2) == ["good"]
    assert len(found) == 3 * len(SCREENED) + 1


def test_a_stack_counts_at_its_better_rate_and_a_failure_is_infinitely_bad() -> None:
    rows = [
        {"stack": stack, "setting": setting, "rate": rate, "val_bits_per_byte": bits}
        for stack, setting, rate, bits in (
            ("a", "one", 0, 3.0), ("a", "one", 0, 2.0), ("a", "one", 1, 2.2), ("a", "one", 2, 9.0),
            ("b", "one", 0, 4.0), ("b", "one", 1, 3.0), ("b", "one", 2, 1.0),
            ("a", "two", 0, None), ("a", "two", 1, 2.1), ("b", "two", 0, 1.5), ("b", "two", 1, None),
        )
    ]  # fmt: skip
    found = scores(rows)
    assert found["a", "one"] == {0: 2.5, 1: 2.2, 2: 9.0}
    assert found["a", "two"][0] == float("inf")
    assert mean_regret(found, [0, 1]) == pytest.approx({"one": (0.1 + 1.5) / 2, "two": 0.0})
    # With at most two rates: the one that suits each.
    assert best_rates(found, "one") == (1, 2)
    assert len(RATES) >= 3
