from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from harmony_core.errors import UserError
from harmony_core.results import front, leaderboard, lineage, measured, reference_latency
from harmony_core.results.fronts import front_again, pareto_front
from harmony_core.store import LATENCY, POPULATION, TRAINING, SearchFolder, ledger, read_table, write_table
from harmony_core.store.table import empty, frame, to_arrow

Evaluate = Callable[..., None]
MakeRow = Callable[..., dict[str, Any]]


@pytest.fixture
def searched(folder: SearchFolder, evaluate: Evaluate) -> SearchFolder:
    evaluate(
        folder,
        0,
        [
            {"id": "slow", "bits": 1.0, "latency": 0.9},  # best loss, but above the target of 0.5 s
            {"id": "mid", "bits": 2.0, "latency": 0.3},
            {"id": "broken", "bits": None, "latency": 0.1},
        ],
    )
    evaluate(
        folder,
        1,
        [
            {"id": "fast", "bits": 3.0, "latency": 0.1, "parents": ["mid"], "operator": "swap"},
            {"id": "worse", "bits": 3.0, "latency": 0.2, "parents": ["mid", "slow"], "operator": "cross"},
        ],
    )
    evaluate(
        folder,
        2,
        [{"id": "child", "bits": 2.5, "latency": 0.2, "parents": ["worse", "fast", "slow"], "operator": "cross"}],
    )
    return folder


def test_leaderboard_is_all_that_are_ok_best_first(searched: SearchFolder) -> None:
    board = leaderboard(searched).collect()
    assert board["architecture_id"].to_list() == ["slow", "mid", "child", "fast", "worse"]
    assert board["latency_seconds"].to_list() == [0.9, 0.3, 0.2, 0.1, 0.2]
    assert board["violation"].to_list() == pytest.approx([0.8, 0, 0, 0, 0])


def test_a_search_without_rows_has_an_empty_leaderboard(folder: SearchFolder) -> None:
    assert leaderboard(folder).collect().is_empty()
    assert pareto_front(folder).collect().is_empty()


def test_the_front_keeps_to_the_targets(searched: SearchFolder) -> None:
    assert pareto_front(searched).collect()["architecture_id"].to_list() == ["mid", "child", "fast"]


def test_the_front_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 6, (60, 3)).astype(float)
    points_frame = pl.DataFrame(points, schema=["a", "b", "c"]).with_columns(violation=pl.lit(0.0))
    found = front(points_frame, ["a", "b", "c"], constrained=True).select("a", "b", "c").rows()
    expected = [tuple(p) for p in points if not any((q <= p).all() and (q < p).any() for q in points)]
    assert found == expected


def test_without_a_feasible_candidate_the_front_is_of_all() -> None:
    broken = pl.DataFrame({"a": [1.0, 2.0], "violation": [0.1, 0.2]})
    assert front(broken, ["a"], constrained=True)["a"].to_list() == [1.0]
    mixed = pl.DataFrame({"a": [1.0, 2.0], "violation": [0.1, 0.0]})
    assert front(mixed, ["a"], constrained=True)["a"].to_list() == [2.0]
    assert front(mixed, ["a"], constrained=False)["a"].to_list() == [1.0]


def test_replicates_are_averaged_and_one_failure_fails_all(searched: SearchFolder, make_row: MakeRow) -> None:
    rows = read_table(searched.shard(0, "training", 0), TRAINING).to_dicts()
    again = [
        {**rows[0], "replicate": 1, "val_bits_per_byte": 2.0},
        {**rows[1], "replicate": 1, "status": "diverged", "val_bits_per_byte": None},
    ]
    write_table(searched.shard(0, "training", 0), [*rows, *again], TRAINING)
    board = leaderboard(searched).collect()
    found = dict(board.select("architecture_id", "val_bits_per_byte").iter_rows())
    assert found["slow"] == 1.5
    assert "mid" not in found
    assert board.filter(pl.col("architecture_id") == "slow")["replicates"].to_list() == [2]


def test_the_rate_that_suits_a_candidate_best_counts(
    folder: SearchFolder, evaluate: Evaluate, make_row: MakeRow
) -> None:
    evaluate(folder, 0, [{"id": name, "bits": 2.0, "latency": 0.1} for name in ("a", "b", "c")])
    rows = read_table(folder.shard(0, "training", 0), TRAINING).with_columns(learning_rate=1e-3).to_dicts()
    failed = {"status": "diverged", "val_bits_per_byte": None, "val_loss": None}
    second = [
        {**rows[0], "rate": 1, "learning_rate": 1e-2, "val_bits_per_byte": 1.5},
        {**rows[1], "rate": 1, "learning_rate": 1e-2, **failed},
        {**rows[2], "rate": 1, "learning_rate": 1e-2, **failed},
    ]
    write_table(folder.shard(0, "training", 0), [*rows[:2], {**rows[2], **failed}, *second], TRAINING)
    board = leaderboard(folder).select("architecture_id", "val_bits_per_byte", "rate", "learning_rate").collect()
    assert board.rows() == [("a", 1.5, 1, 1e-2), ("b", 2.0, 0, 1e-3)]
    # One that failed at one rate only has not failed.
    assert ledger(folder).select("stage", "reason", "count").collect().rows() == [("training", "diverged", 1)]


def test_a_mean_over_the_lucky_replicates_is_not_given(make_row: MakeRow) -> None:
    training = [
        make_row(TRAINING, generation=0, replicate=0, val_bits_per_byte=1.0),
        make_row(TRAINING, generation=0, replicate=1, val_bits_per_byte=7.0, status="timed_out"),
        make_row(TRAINING, generation=0, replicate=2, val_bits_per_byte=None, status="diverged"),
    ]
    joined = measured(
        frame(to_arrow([make_row(POPULATION, generation=0)], POPULATION)).lazy(),
        {"training": frame(to_arrow(training, TRAINING)).lazy(), "latency": empty(LATENCY).lazy()},
        {"latency": {"objective": "prefill"}, "search": {"objectives": [{"name": "val_bits_per_byte"}]}},
    )
    row = joined.collect().row(0, named=True)
    assert (row["status"], row["val_bits_per_byte"], row["replicates"]) == ("timed_out", None, 3)


def test_equal_candidates_are_on_the_front_together() -> None:
    twins = pl.DataFrame({"a": [1.0, 1.0, 2.0], "b": [1.0, 1.0, 2.0], "violation": [0.0, 0.0, 0.0]})
    assert len(front(twins, ["a", "b"], constrained=True)) == 2


def test_the_last_attempt_counts(searched: SearchFolder) -> None:
    rows = read_table(searched.shard(0, "training", 0), TRAINING).to_dicts()
    late = {**rows[1], "attempt": 2, "val_bits_per_byte": 0.25}
    for order in ([late, *rows], [*rows, late]):
        write_table(searched.shard(0, "training", 0), order, TRAINING)
        assert leaderboard(searched).collect()["architecture_id"][0] == "mid"


def test_a_failed_benchmark_fails_a_candidate_when_latency_is_an_objective(searched: SearchFolder) -> None:
    rows = read_table(searched.shard(0, "latency", 0), LATENCY).to_dicts()
    rows = [
        {**row, "status": "crashed", "latency_seconds": None} if row["architecture_id"] == "mid" else row
        for row in rows
    ]
    write_table(searched.shard(0, "latency", 0), rows, LATENCY)
    assert "mid" not in leaderboard(searched).collect()["architecture_id"].to_list()


def test_lineage_is_all_ancestors_once_at_their_least_depth(searched: SearchFolder) -> None:
    rows = lineage(searched, "child").select("depth", "architecture_id", "operator").collect().rows()
    assert rows == [
        (0, "child", "cross"),
        (1, "slow", "sample"),
        (1, "fast", "swap"),
        (1, "worse", "cross"),
        (2, "mid", "sample"),
    ]
    assert lineage(searched, "mid").collect()["depth"].to_list() == [0]


def test_lineage_of_a_stranger_is_a_user_error(searched: SearchFolder) -> None:
    with pytest.raises(UserError, match="nobody"):
        lineage(searched, "nobody")


def test_the_reference_tells_how_far_the_machine_drifted(
    folder: SearchFolder, evaluate: Evaluate, make_row: MakeRow
) -> None:
    assert reference_latency(folder) is None
    key = {"search": "small", "generation": 0, "source": "measured"}
    times = [("prefill", 0.02), ("prefill", 0.05), ("decode", 0.9), ("prefill", None)]
    rows = [
        make_row(LATENCY, **key, candidate=index, mode=mode, reference_seconds_median=seconds)
        for index, (mode, seconds) in enumerate(times)
    ]
    write_table(folder.shard(0, "latency", 0), rows, LATENCY)
    assert reference_latency(folder) == (0.02, 0.05)


def test_a_front_measured_again_says_who_stays(searched: SearchFolder, make_row: MakeRow) -> None:
    front = pareto_front(searched).collect()["architecture_id"].to_list()
    assert front == ["mid", "child", "fast"]
    assert front_again(searched).collect()["confirmed"].to_list() == [None] * 3
    # Anew, the child is as slow as the one that learns better; the fast one failed; a baseline is not of the front.
    times = [("mid", 0.3), ("child", 0.3), ("fast", None), ("llama", 0.01)]
    key = {"search": "small", "generation": None, "source": "measured"}
    rows = [
        make_row(LATENCY, **key, candidate=number, architecture_id=name, mode=mode, latency_seconds=seconds)
        for number, (name, seconds) in enumerate(times)
        for mode in ("prefill", "decode")
    ]
    write_table(searched.shard(None, "latency", 0), rows, LATENCY)
    again = front_again(searched).collect()
    assert again["architecture_id"].to_list() == front
    assert again["latency_seconds"].to_list() == [0.3, 0.2, 0.1]
    assert again["latency_again_seconds"].to_list() == [0.3, 0.3, None]
    assert again["confirmed"].to_list() == [True, False, None]
    write_table(searched.shard(None, "latency", 0), [{**row, "source": "predicted:cpu"} for row in rows], LATENCY)
    assert front_again(searched).collect()["confirmed"].to_list() == [None] * 3


def test_a_marked_latency_is_marked_in_the_leaderboard(searched: SearchFolder) -> None:
    rows = read_table(searched.shard(0, "latency", 0), LATENCY).to_dicts()
    marked = [{**row, "marked": (row["architecture_id"], row["mode"]) == ("mid", "prefill")} for row in rows]
    write_table(searched.shard(0, "latency", 0), marked, LATENCY)
    board = leaderboard(searched).collect()
    assert board.filter("latency_marked")["architecture_id"].to_list() == ["mid"]
