"""An algorithm that thinks, in one file: ridge regression on what was seen, and the best of many samples is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import pytest
from pydantic import Field

from harmony_core.architecture import Architecture
from harmony_core.evolution.algorithms import ALGORITHMS, AlgorithmConfig
from harmony_core.evolution.context import Context
from harmony_core.evolution.generation import mutate_generation, select_generation
from harmony_core.evolution.proposal import Proposal, Sample, Take
from harmony_core.evolution.scored import Placement, Scored
from harmony_core.search.objective import Objective
from harmony_core.space import Encoding, sample
from harmony_core.store import LEDGER, POPULATION, SearchFolder, queries, read_table

LOSS = "val_bits_per_byte"


class Surrogate:
    """Keeps everybody, ranked by loss; takes the sample of which a linear model of the history promises most."""

    def __init__(self, settings: SurrogateConfig) -> None:
        self.settings = settings

    def tell(self, scored: Sequence[Scored]) -> list[Placement]:
        losses = sorted({one.value(LOSS) for one in scored if one.ok})
        place = {loss: rank for rank, loss in enumerate(losses)}
        return [
            Placement(0.0, place[one.value(LOSS)], None, -one.value(LOSS), True)
            if one.ok
            else Placement(None, len(losses), None, None, False)
            for one in scored
        ]

    def ask(self, context: Context, rng: np.random.Generator) -> Proposal:
        seen = [trial for trial in context.history if trial.ok]
        if len(seen) < self.settings.start:
            return Sample()
        encoding = Encoding(context.space)
        features_NF = np.stack([encoding.vector(trial.architecture) for trial in seen])
        losses_N = np.array([trial.metrics[LOSS] for trial in seen], dtype=np.float64)
        mean_F, scale_F = features_NF.mean(0), features_NF.std(0) + 1e-9
        centred_NF = (features_NF - mean_F) / scale_F
        # In the dual form there are as many unknowns as trials, and not as features.
        gram_NN = centred_NF @ centred_NF.T + self.settings.penalty * np.eye(len(seen))
        weights_F = centred_NF.T @ np.linalg.solve(gram_NN, losses_N - losses_N.mean())
        draws = [sample(context.space, context.vocab_size, rng).architecture for _ in range(self.settings.draws)]
        new = [one for one in draws if one.id not in context.trials] or draws
        predicted = [float((encoding.vector(one) - mean_F) / scale_F @ weights_F) for one in new]
        return Take(new[int(np.argmin(predicted))], f"best of {len(new)} by ridge regression on {len(seen)}")


class SurrogateConfig(AlgorithmConfig):
    """A model of the loss, and how hard it is asked."""

    kind: Literal["surrogate"] = "surrogate"
    start: int = Field(default=4, ge=1, le=1000)
    draws: int = Field(default=10, ge=1, le=10_000)
    penalty: float = Field(default=1.0, gt=0, le=1e6)
    targets_are_constraints: ClassVar[bool] = False

    def make(self, objectives: Sequence[Objective], population: int) -> Surrogate:
        return Surrogate(self)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALGORITHMS, "surrogate", SurrogateConfig)


def run(folder: SearchFolder, measure: Callable[..., None], generations: range) -> list[Any]:
    summaries = []
    for generation in generations:
        mutate_generation(folder, generation)
        measure(folder, generation)
        summaries.append(select_generation(folder, generation))
    return summaries


def content(folder: SearchFolder) -> dict[str, bytes]:
    paths = sorted(folder.path.rglob("generation=*/*.parquet"))
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("lag", [0, 1])
def test_it_runs_in_the_loop_and_resumes_to_the_byte(
    start: Callable[..., SearchFolder], measure: Callable[..., None], lag: int
) -> None:
    folder = start(lag=lag, population=5, algorithm={"kind": "surrogate", "start": 2})
    summaries = run(folder, measure, range(4))
    rows = queries.population(folder).collect()
    origins = {
        generation: set(rows.filter(pl.col("generation") == generation)["origin"].to_list()) for generation in range(4)
    }
    assert origins == {generation: {"sample"} if generation <= lag else {"proposal"} for generation in range(4)}
    assert rows["architecture_id"].n_unique() == len(rows) == 20
    whole = content(folder)
    # Killed between any two steps and begun again, in a process that remembers nothing.
    for generation in (3, 1):
        for later in range(generation, 4):
            for name in ("population", "ledger", "selection"):
                (folder.generation(later) / f"{name}.parquet").unlink()
        assert run(folder, measure, range(generation, 4)) == summaries[generation:]
        assert content(folder) == whole


def test_it_is_told_who_it_was(start: Callable[..., SearchFolder], measure: Callable[..., None]) -> None:
    folder = start(algorithm={"kind": "surrogate", "draws": 5})
    run(folder, measure, range(2))
    (row,) = read_table(folder.population(1), POPULATION).head(1).to_dicts()
    assert row["operator"].startswith("best of 5 by ridge regression on ")
    assert row["parents"] == []
    assert Architecture.from_json(row["architecture"]).id == row["architecture_id"]


def test_thinking_pays(start: Callable[..., SearchFolder], measure: Callable[..., None]) -> None:
    """The made-up loss falls with size, under noise: what is taken is larger than what is drawn."""
    folder = start(algorithm={"kind": "surrogate", "draws": 20})
    run(folder, measure, range(3))
    sizes = queries.population(folder).group_by("origin").agg(pl.col("num_params").median()).collect()
    found = dict(sizes.iter_rows())
    assert found["proposal"] > 1.2 * found["sample"]


def test_what_it_repeats_is_thrown_away(
    start: Callable[..., SearchFolder], measure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that always takes the same: the first child is it, all others are samples, and the ledger says why."""
    first = []

    def stubborn(self: Surrogate, context: Context, rng: np.random.Generator) -> Proposal:
        first.extend([] if first else [sample(context.space, context.vocab_size, rng).architecture])
        return Take(first[0])

    monkeypatch.setattr(Surrogate, "ask", stubborn)
    folder = start(algorithm={"kind": "surrogate"})
    mutate_generation(folder, 0)
    assert read_table(folder.population(0), POPULATION)["origin"].to_list() == ["proposal"] + ["sample"] * 7
    ledger = read_table(folder.ledger(0), LEDGER).select("stage", "reason", "count").rows()
    assert [count for stage, reason, count in ledger if (stage, reason) == ("propose", "duplicate")] >= [70]


def test_with_a_lag_the_history_holds_no_result_that_is_not_waited_for(
    start: Callable[..., SearchFolder], measure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[tuple[int, str | None]]] = {}

    def looks(self: Surrogate, context: Context, rng: np.random.Generator) -> Proposal:
        seen[context.generation] = [(trial.generation, trial.status) for trial in context.history]
        return Sample()

    monkeypatch.setattr(Surrogate, "ask", looks)
    folder = start(lag=1, algorithm={"kind": "surrogate"})
    # The results of generation 2 are there before 3 is bred, and are not looked at.
    run(folder, measure, range(4))
    assert seen[0] == []
    assert [(birth, status is None) for birth, status in seen[3]] == [
        (birth, birth == 2) for birth in range(3) for _ in range(8)
    ]
    assert "diverged" in {status for _, status in seen[3]}
