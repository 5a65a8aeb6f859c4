"""A search whose budget is spent closes its generations, says why, and ends well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from harmony_core.store import (
    LATENCY,
    LEDGER,
    TRAINING,
    SearchFolder,
    population,
    read_table,
    selection,
    training,
)
from tests.workflow.conftest import Completed, harmony, search, write_config

REASON = r"budget of 1e-06 GPU-hours: \S+ spent, (?:\S+ kept for promotion, )?\S+ a candidate"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Completed]:
    """A search of three generations whose budget the first one spends, and what it printed."""
    folder = tmp_path_factory.mktemp("closed")
    config = write_config(folder, search={"generations": 3}, budget={"gpu_hours": 1e-6})
    return folder, search(folder, config)


def sizes(results: Path) -> dict[int, int]:
    return dict(population(results).group_by("generation").len().sort("generation").collect().iter_rows())


def test_the_search_ends_well_and_every_file_is_there(closed: tuple[Path, Completed]) -> None:
    folder, done = closed
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results" / "tiny"
    assert sizes(results) == {0: 4}
    files = SearchFolder(results)
    for generation in (1, 2):
        assert read_table(files.shard(generation, "training", 0), TRAINING).is_empty()
        assert read_table(files.shard(generation, "latency", 0), LATENCY).is_empty()
        survivors = selection(results).filter(pl.col("generation") == generation).collect()
        assert set(survivors["birth_generation"]) == {0}
    assert training(results, promoted=True).collect().is_empty()


def test_the_reason_is_told_in_ledger_output_and_report(closed: tuple[Path, Completed]) -> None:
    folder, _ = closed
    files = SearchFolder(folder / "results" / "tiny")
    for generation, count in ((1, 4), (2, 4), (None, 2)):
        rows = read_table(files.ledger(generation), LEDGER)
        assert rows["reason"].str.contains(f"^{REASON}$").to_list() == [True]
        assert rows["count"].to_list() == [count]
    logs = (folder / "results" / "tiny" / "work" / "logs").rglob("*.log")
    told = pl.Series([line for log in sorted(logs) for line in log.read_text().splitlines()])
    for closing in ("generation 1: 0 of 4", "generation 2: 0 of 4", "promotion: 0 of 2"):
        assert told.str.contains(f"^{closing} candidates: {REASON}$").sum() == 1, closing
    assert told.str.contains(r"^generation 2: .* of 1e-06 GPU-hours spent$").sum() == 1
    page = pl.Series(files.report.joinpath("index.html").read_text().splitlines())
    assert page.str.contains(f"<td>propose</td><td>{REASON}</td><td>8</td>").sum() == 1
    assert page.str.contains(f"2 left out: {REASON}").sum() == 1
    top = harmony(folder, "top", "tiny")
    assert top.returncode == 0, top.stderr
    assert pl.Series(top.stdout.splitlines()).str.contains(r"^budget: \S+ of 1e-06 GPU-hours spent$").sum() == 1


@pytest.mark.parametrize("step", ["train", "promote"])
def test_nobody_asks_for_an_allocation_where_nothing_is_to_be_done(
    closed: tuple[Path, Completed], copy_of: Callable[[Path], Path], step: str
) -> None:
    which = [] if step == "promote" else ["--generation", "2", "--shard", "0"]
    folder = copy_of(closed[0])
    # There is no allocation here: with a candidate this would fail.
    done = harmony(folder, "run", step, "--search", "results/tiny", *which, "--launcher", "srun")
    assert done.returncode == 0, done.stderr


def test_a_raised_budget_goes_on_with_more_generations(
    closed: tuple[Path, Completed], copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(closed[0])
    results = folder / "results" / "tiny"
    before = {path: path.stat().st_mtime_ns for path in results.glob("generation=*/**/*.parquet")}
    raised = search(folder, write_config(folder, search={"generations": 3}, budget={"gpu_hours": 100}), "-n")
    assert "Nothing to be done" in raised.stdout + raised.stderr
    done = search(folder, write_config(folder, search={"generations": 4}, budget={"gpu_hours": 100}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sizes(results) == {0: 4, 3: 4}
    roles = population(results, promoted=True).collect()["role"].to_list()
    assert roles == ["front", "baseline"]
    assert training(results, promoted=True).collect()["test_bits_per_byte"].null_count() == 0
    assert read_table(SearchFolder(results).ledger(None), LEDGER).is_empty()
