from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.evolution.algorithms import ALGORITHMS
from harmony_core.evolution.generation import GenerationSummary, mutate_generation, select_generation
from harmony_core.results import lineage, pareto_front
from harmony_core.results.budget import Allowance
from harmony_core.space import Space
from harmony_core.store import (
    LEDGER,
    POPULATION,
    SELECTION,
    TRAINING,
    SearchFolder,
    queries,
    read_manifest,
    read_table,
    write_manifest,
    write_table,
)

Start = Callable[..., SearchFolder]
Measure = Callable[..., None]
# Every cost with a target, so that all algorithms take them.
PRICED = [{"name": "val_bits_per_byte"}, {"name": "latency_seconds", "target": 0.05}]
TINY = """
pattern: layers
depth: {min: 1, max: 1}
d_model: [32]
blocks:
  mqa: {domains: {num_heads: [2, 4], head_dim: [8, 16, 32]}}
  mlp: {domains: {d_ff: [64, 128]}}
"""


def run(folder: SearchFolder, measure: Measure, generations: int, **how: Any) -> list[GenerationSummary]:
    summaries = []
    for generation in range(generations):
        mutate_generation(folder, generation)
        measure(folder, generation, **how)
        summaries.append(select_generation(folder, generation))
    return summaries


def content(folder: SearchFolder) -> dict[str, bytes]:
    """Bytes of what evolution wrote."""
    paths = [path for path in folder.path.rglob("*.parquet") if path.parent.name.startswith("generation=")]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in sorted(paths)}


def test_generation_0_is_samples_of_the_space(start: Start) -> None:
    folder = start()
    assert mutate_generation(folder, 0).candidates == 8
    rows = read_table(folder.population(0), POPULATION)
    assert rows["origin"].to_list() == ["sample"] * 8
    assert rows["candidate"].to_list() == list(range(8))
    assert rows["architecture_id"].n_unique() == 8
    space = Space.from_yaml(read_manifest(folder.manifest).config["space"])
    for row in rows.iter_rows(named=True):
        architecture = Architecture.from_json(row["architecture"])
        assert architecture.id == row["architecture_id"]
        assert space.violations(architecture) == []
        assert row["num_params"] == architecture.num_params()
        assert row["flops_per_token"] == architecture.flops_per_token(256, "train")


@pytest.mark.parametrize("kind", list(ALGORITHMS))
@pytest.mark.parametrize("lag", [0, 1])
def test_everything_is_a_function_of_config_seed_and_rows(start: Start, measure: Measure, kind: str, lag: int) -> None:
    # `test_engines` holds the same of Bayesian optimisation, which takes longer.
    settings = {"picks": "random"} if kind == "one_shot" else {}
    folder = start(lag=lag, algorithm={"kind": kind, **settings}, objectives=PRICED)
    summaries = run(folder, measure, 4)
    recorded = content(folder)
    for name in recorded:
        (folder.path / name).unlink()
    # The workers of the second run end in another order.
    assert run(folder, measure, 4, backwards=True) == summaries
    assert content(folder) == recorded


@pytest.mark.parametrize("lag", [0, 1])
def test_every_selection_can_be_derived_again_at_any_time(start: Start, measure: Measure, lag: int) -> None:
    folder = start(lag=lag)
    summaries = run(folder, measure, 4)
    recorded = content(folder)
    for generation in (2, 0, 3, 1):
        folder.selection(generation).unlink()
        assert select_generation(folder, generation) == summaries[generation]
        folder.population(generation).unlink()
        mutate_generation(folder, generation)
    assert content(folder) == recorded


def test_another_seed_gives_another_population(start: Start, reseed: Callable[[SearchFolder, int], None]) -> None:
    folder = start()
    mutate_generation(folder, 0)
    before = content(folder)
    mutate_generation(folder, 0)
    assert content(folder) == before
    reseed(folder, 2)
    mutate_generation(folder, 0)
    assert content(folder) != before


def test_a_candidate_does_not_depend_on_how_many_are_paid_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = start("few", population=12), start("many", population=12)
    mutate_generation(many, 0)
    allowance = Allowance(12, 4, "budget")
    monkeypatch.setattr("harmony_core.evolution.generation.generation_allowance", lambda *_: allowance)
    mutate_generation(few, 0)
    rows = [read_table(folder.population(0), POPULATION)["architecture_id"] for folder in (few, many)]
    assert rows[1][:4].to_list() == rows[0].to_list()


def test_nothing_is_tried_twice(start: Start, measure: Measure) -> None:
    folder = start()
    run(folder, measure, 5)
    ids = queries.population(folder).collect()["architecture_id"]
    assert len(ids) == ids.n_unique() == 40


@pytest.mark.parametrize("lag", [0, 1])
def test_parents_are_survivors_of_the_selection_before_the_lag(start: Start, measure: Measure, lag: int) -> None:
    folder = start(lag=lag, algorithm={"crossover_probability": 0.5})
    run(folder, measure, 5)
    origins = set()
    for generation in range(5):
        rows = read_table(folder.population(generation), POPULATION)
        source = generation - 1 - lag
        parents = {parent for row in rows["parents"].to_list() for parent in row}
        if source < 0:
            assert set(rows["origin"]) == {"sample"}
            assert parents == set()
            continue
        selection = read_table(folder.selection(source), SELECTION)
        assert parents
        assert parents <= set(selection.filter(pl.col("survives"))["architecture_id"])
        origins |= set(rows["origin"])
        for row in rows.iter_rows(named=True):
            assert len(row["parents"]) == {"mutation": 1, "crossover": 2}[row["origin"]]
    assert origins == {"mutation", "crossover"}
    newest = queries.population(folder).collect().row(-1, named=True)["architecture_id"]
    assert max(lineage(folder, newest).collect()["depth"].to_list()) >= 1


def test_a_generation_with_lag_needs_no_selection_of_the_one_before(start: Start, measure: Measure) -> None:
    folder = start(lag=1)
    mutate_generation(folder, 0)
    mutate_generation(folder, 1)  # while generation 0 is still training
    measure(folder, 0)
    select_generation(folder, 0)
    assert mutate_generation(folder, 2).candidates == 8  # while generation 1 is
    assert "sample" not in set(read_table(folder.population(2), POPULATION)["origin"])


def test_selection_merges_the_survivors_with_the_new(start: Start, measure: Measure) -> None:
    folder = start()
    run(folder, measure, 3)
    for generation in (1, 2):
        rows = read_table(folder.selection(generation), SELECTION)
        before = read_table(folder.selection(generation - 1), SELECTION).filter(pl.col("survives"))
        old = rows.filter(pl.col("birth_generation") < generation)
        assert old["architecture_id"].sort().to_list() == before["architecture_id"].sort().to_list()
        new = rows.filter(pl.col("birth_generation") == generation)
        assert new["candidate"].to_list() == list(range(8))
        assert rows["survives"].sum() == 8
        assert rows.filter(pl.col("survives"))["status"].unique().to_list() == ["ok"]
    everyone = queries.selection(folder).collect()
    assert "diverged" in everyone["status"].to_list()


def test_the_summary_counts_what_the_files_hold(start: Start, measure: Measure) -> None:
    folder = start()
    for summary in run(folder, measure, 4):
        trained = queries.training(folder).filter(pl.col("generation") == summary.generation).collect()
        assert summary.evaluated == (trained["status"] == "ok").sum()
        assert summary.evaluated + summary.failed == 8
    so_far = queries.training(folder).collect()["val_bits_per_byte"].min()
    assert summary.best_val_bits_per_byte == so_far
    assert summary.front_size == len(pareto_front(folder).collect())
    assert 0 < summary.hypervolume < 1


def test_hypervolume_never_falls(start: Start, measure: Measure) -> None:
    for kind in ("nsga2", "regularized_evolution"):
        volumes = [s.hypervolume for s in run(start(kind, algorithm={"kind": kind}), measure, 6)]
        assert volumes == sorted(volumes)
        assert volumes[-1] > volumes[0]


def test_replicates_are_averaged(start: Start, measure: Measure) -> None:
    folder = start(objectives=[{"name": "val_bits_per_byte"}])
    mutate_generation(folder, 0)
    measure(folder, 0)
    rows = read_table(folder.shard(0, "training", 0), TRAINING).to_dicts()
    again = [{**row, "replicate": 1, "val_bits_per_byte": 9.0} for row in rows if row["status"] == "ok"]
    write_table(folder.shard(0, "training", 0), [*again, *rows], TRAINING)
    select_generation(folder, 0)
    selected = read_table(folder.selection(0), SELECTION)
    found = dict(selected.select("candidate", "val_bits_per_byte").iter_rows())
    for row in rows:
        if row["status"] == "ok":
            assert found[row["candidate"]] == pytest.approx((row["val_bits_per_byte"] + 9.0) / 2)


def test_a_generation_that_failed_altogether_is_followed_by_samples(start: Start, measure: Measure) -> None:
    folder = start()
    mutate_generation(folder, 0)
    measure(folder, 0, fail=True)
    summary = select_generation(folder, 0)
    assert (summary.evaluated, summary.failed, summary.best_val_bits_per_byte) == (0, 8, None)
    assert (summary.front_size, summary.hypervolume) == (0, 0.0)
    assert mutate_generation(folder, 1).candidates == 8
    assert set(read_table(folder.population(1), POPULATION)["origin"]) == {"sample"}


def test_an_exhausted_space_ends_the_search_and_says_so(start: Start, measure: Measure) -> None:
    folder = start(space=TINY, population=5)
    summaries = run(folder, measure, 5)
    sizes = [len(read_table(folder.population(generation), POPULATION)) for generation in range(5)]
    assert sum(sizes) == 12  # 2 x 3 attention blocks x 2 MLPs, each once
    assert sizes[:2] == [5, 5]
    assert sizes[-1] == 0
    assert summaries[-1].evaluated == summaries[-1].failed == 0
    for generation, size in enumerate(sizes):
        ledger = read_table(folder.ledger(generation), LEDGER)
        said = ledger.filter(pl.col("reason") == "space exhausted")["count"].to_list()
        assert said == ([] if size == 5 else [5 - size])
    last = read_table(folder.selection(4), SELECTION)
    before = read_table(folder.selection(3), SELECTION).filter(pl.col("survives"))
    assert last["architecture_id"].to_list() == before["architecture_id"].to_list()


def test_presets_come_first_where_the_config_asks_for_them(start: Start) -> None:
    folder = start(space="{}", population=4, initial=["llama-nano", "llama-nano"])
    manifest = read_manifest(folder.manifest)
    write_manifest(folder.manifest, manifest.model_copy(update={"config": {**manifest.config, "space": "nano"}}))
    assert mutate_generation(folder, 0).candidates == 4
    rows = read_table(folder.population(0), POPULATION)
    assert rows["origin"].to_list() == ["preset", "sample", "sample", "sample"]
    assert rows["name"].to_list() == ["llama-nano", None, None, None]
    assert Architecture.from_json(rows["architecture"][0]).vocab_size == 256
    ledger = read_table(folder.ledger(0), LEDGER)
    assert ("preset", "duplicate", 1) in ledger.select("stage", "reason", "count").rows()


def test_a_preset_outside_the_space_is_a_user_error(start: Start) -> None:
    with pytest.raises(UserError, match=r"search.initial: mixtral-8x7b: not in the space"):
        mutate_generation(start(initial=["mixtral-8x7b"]), 0)


def test_a_missing_result_is_a_user_error(start: Start, measure: Measure) -> None:
    folder = start()
    mutate_generation(folder, 0)
    measure(folder, 0)
    folder.shard(0, "training", 1).unlink()
    with pytest.raises(UserError, match="no result of candidate 1, 3, 5, 7"):
        select_generation(folder, 0)
    assert not folder.selection(0).exists()


def test_a_missing_selection_is_a_user_error(start: Start) -> None:
    folder = start()
    mutate_generation(folder, 0)
    with pytest.raises(UserError, match=r"selection\.parquet"):
        mutate_generation(folder, 1)


def test_latency_that_is_no_objective_may_be_missing(start: Start, measure: Measure) -> None:
    folder = start(objectives=[{"name": "val_bits_per_byte"}, {"name": "num_params"}])
    mutate_generation(folder, 0)
    measure(folder, 0)
    for shard in (0, 1):
        folder.shard(0, "latency", shard).unlink()
    assert select_generation(folder, 0).evaluated > 0
    assert read_table(folder.selection(0), SELECTION)["latency_seconds"].to_list() == [None] * 8
