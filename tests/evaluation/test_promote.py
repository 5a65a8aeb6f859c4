"""Promotion trains what the budget pays for, and writes down what it left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from harmony_core.evaluation.config import PromoteConfig
from harmony_core.evaluation.evaluator import Evaluator
from harmony_core.evaluation.evaluators import Latency
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.promote import promote
from harmony_core.evaluation.shard import Shard
from harmony_core.metrics import METRICS, Metric
from harmony_core.results import promoted_results
from harmony_core.results.budget import Allowance
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import LATENCY, LEDGER, POPULATION, TRAINING, Run, read_table

Prepared = Callable[..., OpenedSearch]
ALLOWED = Allowance(wanted=2, paid=1, reason="budget of 2 GPU-hours: 1.9 spent, 0.1 a candidate")


def nothing(evaluator: str, row: dict[str, Any], done: int, total: int) -> None:
    """Nobody listens."""


def test_the_first_members_are_trained_and_the_rest_is_told(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def allow(folder: object, members: int) -> Allowance:
        asked.append(members)
        return ALLOWED

    monkeypatch.setattr("harmony_core.evaluation.promote.promotion_allowance", allow)
    setting = prepared(promote={"baselines": ["llama-nano", "mixtral-nano"]}, recipe={"learning_rate": [1e-6, 1e-3]})
    stale = setting.folder.weights("of-an-earlier-front", 0, Run())
    stale.mkdir(parents=True)
    assert promote(setting, nothing, Launcher()) == ALLOWED
    assert not stale.exists()
    assert asked == [2]
    folder = setting.folder
    assert read_table(folder.population(None), POPULATION)["name"].to_list() == ["llama-nano"]
    trained = read_table(folder.shard(None, "training", 0), TRAINING).sort("val_bits_per_byte").to_dicts()
    assert [(one["status"], one["learning_rate"]) for one in trained] == [("ok", 1e-3), ("ok", 1e-6)]
    # Of the rate that suits it best alone.
    assert [path.name for path in folder.all_weights.iterdir()] == [f"00000-{trained[0]['architecture_id']}-r0-l1"]
    (told,) = promoted_results(folder).select("runs", "failed", "learning_rate", "test_bits_per_byte").collect().rows()
    assert told == (1, 0, 1e-3, trained[0]["test_bits_per_byte"])
    assert read_table(folder.shard(None, "latency", 0), LATENCY)["candidate"].unique().to_list() == [0]
    (row,) = read_table(folder.ledger(None), LEDGER).to_dicts()
    assert (row["generation"], row["reason"], row["count"]) == (None, ALLOWED.reason, 1)


def test_the_rest_of_the_front_is_measured_beside_what_is_trained_again(
    prepared: Prepared, candidates: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = prepared(promote={"top_k": 1, "baselines": ["llama-nano"]})
    mlp = {"kind": "mlp", "d_ff": 32}
    front = [{**row, "val_bits_per_byte": 2.0 + row["candidate"]} for row in candidates([mlp], [mlp] * 2, [mlp] * 3)]
    asked: dict[str, Any] = {}

    def evaluate(evaluator: Evaluator, shard: Shard, **_: object) -> None:
        if isinstance(evaluator, Latency):
            members = [(row["candidate"], row["architecture_id"]) for row in shard.population]
            asked.update(members=members, turns=evaluator.turns)

    room = "harmony_core.evaluation.promote"
    monkeypatch.setattr(f"{room}.evaluate_shard", evaluate)
    monkeypatch.setattr(f"{room}.pareto_front", lambda folder: pl.DataFrame(front).lazy())
    promote(setting, nothing, Launcher())
    trained = read_table(setting.folder.population(None), POPULATION)["architecture_id"].to_list()
    assert trained[0] == front[0]["architecture_id"]
    # What is predicted is the same again.
    assert asked["members"] == list(enumerate(trained))
    latency = setting.config.latency.model_copy(update={"source": "measured"})
    measured = dataclasses.replace(setting, config=setting.config.model_copy(update={"latency": latency}))
    promote(measured, nothing, Launcher())
    rest = [row["architecture_id"] for row in front[1:]]
    assert asked == {"members": list(enumerate([*trained, *rest])), "turns": latency.promotion_turns}


def test_what_is_added_is_trained_and_what_was_there_stays(prepared: Prepared) -> None:
    setting = prepared(promote={"baselines": ["llama-nano"]})
    promote(setting, nothing, Launcher())
    folder = setting.folder
    (first,) = read_table(folder.shard(None, "training", 0), TRAINING).to_dicts()
    asked = {**setting.manifest.config, "promote": {"baselines": ["mixtral-nano", "llama-nano"], "replicates": 2}}
    folder.config.write_text(json.dumps(asked))
    grown = OpenedSearch.open(folder.path)
    reported: list[tuple[int, int]] = []

    def report(evaluator: str, row: dict[str, Any], done: int, total: int) -> None:
        if evaluator == "training":
            reported.append((done, total))

    promote(grown, report, Launcher())
    assert reported == [(2, 4), (3, 4), (4, 4)]
    names = read_table(folder.population(None), POPULATION).select("candidate", "name").rows()
    assert names == [(0, "llama-nano"), (1, "mixtral-nano")]
    rows = read_table(folder.shard(None, "training", 0), TRAINING).to_dicts()
    assert first in rows
    assert sorted((row["candidate"], row["replicate"]) for row in rows) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    more = grown.config.promotes_more(setting.config)
    assert more is not None
    assert json.loads(folder.grown_promotion(more).read_text())["replicates"] == 2


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"top_k": 4}, set()),
        ({"replicates": 3, "baselines": ["samba-nano", "jamba-nano", "llama-nano"]}, set()),
        ({"top_k": 2, "replicates": 3}, {"top_k"}),
        ({"replicates": 1}, {"replicates"}),
        ({"baselines": ["llama-nano", "samba-nano"]}, {"baselines"}),
        ({"tokens": 4096}, {"tokens"}),
        ({"top_k": 5, "keep_weights": False}, {"keep_weights"}),
    ],
    ids=str,
)
def test_only_more_is_no_change(now: dict[str, Any], changed: set[str]) -> None:
    before = PromoteConfig(top_k=3, replicates=2, baselines=("llama-nano", "jamba-nano"))
    seen = before.model_copy(update=PromoteConfig(**now).model_dump(include=set(now))).without_more(before)
    assert {name for name in PromoteConfig.model_fields if getattr(seen, name) != getattr(before, name)} == changed


def test_the_promoted_have_the_searchs_own_objectives_too(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = Metric("depth", "blocks", "depth", "how many blocks", source=lambda one: len(one.blocks), whole=True)
    monkeypatch.setitem(METRICS, "depth", depth)
    objectives = [{"name": "val_bits_per_byte"}, {"name": "depth"}]
    setting = prepared(search={"objectives": objectives}, promote={"baselines": ["llama-nano"]})
    monkeypatch.setattr("harmony_core.evaluation.promote.evaluate_shard", lambda *_, **__: None)
    promote(setting, nothing, Launcher())
    (row,) = read_table(setting.folder.population(None), POPULATION).to_dicts()
    assert (row["name"], row["depth"]) == ("llama-nano", row["num_blocks"])
