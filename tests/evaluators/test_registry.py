"""What a search runs, and when: everybody's evaluators before the selection, its survivors' after it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import polars as pl
import pytest

from harmony_core.errors import UserError
from harmony_core.evaluation.evaluator import EVALUATORS
from harmony_core.evaluation.evaluator_registry import evaluators_of, find_evaluator
from harmony_core.evaluation.shard import Shard
from harmony_core.search.config import Config
from harmony_core.store import SearchFolder, missing, schemas, selection, write_table
from harmony_core.store.evaluators import TABLES, EvaluatorTable, decisive_tables, register, tables_of
from harmony_core.workflow import Plan, main_lease
from tests.plugins.harmony_toys.evaluator import Toy, ToyTable
from tests.progress.searches import MadeUpSearch

ALL = ("training", "latency", "toy")
VALUES = {number: (2.0 + number, 1.0) for number in range(8)}


def planned(config: Config) -> Plan:
    return Plan(config, main_lease(SearchFolder("results/toy")))


def generation(number: int) -> Any:
    return SimpleNamespace(generation=f"{number:03d}")


@pytest.fixture(params=["all", "survivors", "promoted"])
def takes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets the toy take others than it does."""
    whom: Literal["all", "survivors", "promoted"] = request.param
    monkeypatch.setattr(ToyTable, "takes", whom)
    return whom


def test_each_step_waits_for_what_it_reads(takes: str) -> None:
    plan = planned(Config.parse({"search": {"name": "toy", "generations": 3, "lag": 1}, "evaluators": list(ALL)}))
    shards = [f"results/toy/generation={{generation}}/{name}/shard=000.parquet" for name in ALL]
    assert plan.evaluators.shards("all") == shards[: 3 if takes == "all" else 2]
    of_survivors = [f"results/toy/generation={number:03d}/toy/shard=000.parquet" for number in range(3)]
    assert plan.evaluators.of_survivors == (of_survivors if takes == "survivors" else [])
    selected = "results/toy/generation=000/selection.parquet"
    bred_from = ["results/toy/generation=001/population.parquet", selected]
    assert plan.ancestors(generation(2)) == bred_from + (of_survivors[:1] if takes == "survivors" else [])
    assert "results/toy/promoted/shard=000/toy.parquet" in plan.evaluators.promoted
    made = [one.name for one in plan.evaluators.further]
    assert made == ([] if takes == "promoted" else ["toy"])
    needed, files = plan.evaluators.files(EVALUATORS["toy"])
    assert files == ["results/toy/generation={generation}/toy/shard={shard}.parquet"]
    assert any("selection" in path for path in needed) == (takes == "survivors")


def test_a_configuration_without_evaluators_is_as_before(takes: str) -> None:
    plan = planned(Config.parse({"search": {"name": "toy"}}))
    shards = [f"results/toy/generation={{generation}}/{name}/shard=000.parquet" for name in ("training", "latency")]
    assert (plan.evaluators.shards("all"), plan.evaluators.of_survivors, plan.evaluators.further) == (shards, [], [])
    tables = ("population", "shard=000/training", "shard=000/curves", "shard=000/latency")
    assert plan.promoted == [f"results/toy/promoted/{table}.parquet" for table in tables]


def test_survivors_are_those_of_their_own_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = MadeUpSearch(tmp_path, {"evaluators": list(ALL)}, algorithm={"survivors": 3})
    made.prepare()
    monkeypatch.setattr(ToyTable, "takes", "survivors")
    made.finish(0, VALUES)
    # One of the second generation is better than all of the first.
    made.finish(1, {number: (bits + 10 if number != 6 else 1.0, time) for number, (bits, time) in VALUES.items()})
    survivors = selection(made.folder).filter("survives", pl.col("generation") == 1).collect()
    born = survivors.filter(pl.col("birth_generation") == 1)["candidate"].to_list()
    assert 0 < len(born) < len(survivors)
    taken = [
        row["candidate"]
        for index in range(2)
        for row in Shard.open(made.folder.path, 1, index, EVALUATORS["toy"]).population
    ]
    assert sorted(taken) == sorted(born)
    assert len(Shard.open(made.folder.path, 1, 0, find_evaluator("training")).population) == 4
    # Of generation 0 they have been awaited, since another was bred from it.
    assert missing(made.folder) == [made.folder.shard(0, "toy", index) for index in range(2)]


def test_what_takes_everybody_is_missed_with_its_generation(tmp_path: Path) -> None:
    made = MadeUpSearch(tmp_path, {"evaluators": list(ALL)})
    made.prepare()
    made.finish(0, VALUES)
    assert missing(made.folder) == [made.folder.shard(0, "toy", index) for index in range(2)]
    for index in range(2):
        write_table(made.folder.shard(0, "toy", index), [], ToyTable.schema)
    assert missing(made.folder) == []


def test_what_measures_an_objective_decides() -> None:
    settings = {"evaluators": ["latency", "toy", "training"], "search": {"objectives": [{"name": "mixing_share"}]}}
    assert [table.name for table in tables_of(settings)] == ["training", "latency", "toy"]
    assert [table.name for table in decisive_tables(settings)] == ["training", "toy"]
    # As a manifest of a version has it in which there was no choice.
    assert [table.name for table in tables_of({})] == ["training", "latency"]
    assert [one.name for one in evaluators_of(Config.parse({"evaluators": ["toy", "training"]}))] == ["training", "toy"]


def test_hashes_are_those_of_before_there_was_a_choice() -> None:
    before = Config.parse({"search": {"name": "golden"}})
    assert "evaluators" not in before.identity() | before.recorded()
    assert Config.parse({"search": {"name": "golden"}, "evaluators": ["latency", "training"]}).hash == before.hash
    assert Config.parse({"search": {"name": "golden"}, "evaluators": list(ALL)}).hash != before.hash
    assert Config().hash == "9904e62966931d0d"
    assert Config.from_yaml(Path(__file__).parents[2] / "config" / "nano.yaml").hash == "cc11e77419e7aecf"


@pytest.mark.parametrize("names", [[], ["latency"], ["training", "training"]], ids=str)
def test_training_always_is_and_each_is_named_once(names: list[str]) -> None:
    with pytest.raises(UserError, match=r"^evaluators: .*name training and what else is measured, each once"):
        Config.parse({"evaluators": names})


def test_names_that_nobody_has_and_objectives_that_nobody_measures_are_refused() -> None:
    with pytest.raises(UserError, match=r"^evaluators: proxy: not installed; there are training, latency, mad"):
        Config.parse({"evaluators": ["training", "latency", "proxy"]}).check_names()
    with pytest.raises(UserError, match=r"^search\.objectives: latency_seconds: latency measures it; add that"):
        Config.parse({"evaluators": ["training"]}).check_names()
    by_task = {"evaluators": ["training", "mad"], "search": {"objectives": [{"name": "mad_compression"}]}}
    with pytest.raises(UserError, match=r"^search\.objectives: mad_compression: its task is not trained; add compress"):
        Config.parse(by_task).check_names()
    Config.parse({**by_task, "mad": {"tasks": ["compression"]}}).check_names()


@pytest.mark.parametrize(
    ("name", "metric", "beside"),
    [
        ("latency", "mine", {}),
        ("mine", "latency_seconds", {}),
        ("mine", "num_params", {}),
        ("mine", "mine", {"curves": schemas.CURVES}),
        ("train", "mine", {}),
        ("a/b", "mine", {}),
    ],
)
def test_a_name_that_is_taken_is_refused(name: str, metric: str, beside: dict[str, Any]) -> None:
    before = dict(TABLES)
    declared = {"name": name, "metrics": (metric,), "schema": ToyTable.schema, "beside": beside}
    taken = type("Taken", (EvaluatorTable,), declared)
    with pytest.raises(ValueError, match=r"registered twice|cannot be called"):
        register(taken())
    assert before == TABLES


def test_an_evaluator_needs_a_table_and_is_the_only_one_of_its_name() -> None:
    from harmony_core.evaluation.evaluator import register as register_evaluator

    with pytest.raises(ValueError, match="registered twice"):
        register_evaluator(Toy)
    orphan = type("Orphan", (Toy,), {"table": ToyTable()})
    with pytest.raises(ValueError, match="not registered"):
        register_evaluator(orphan)
