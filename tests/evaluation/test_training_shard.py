"""A shard is trained to the end whatever its candidates do, and what is done stays done."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harmony_core.errors import UserError
from harmony_core.evaluation.evaluate_shard import evaluate_shard
from harmony_core.evaluation.evaluators import Training
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Shard
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import CURVES, TRAINING, best_runs, read_table
from harmony_core.store.evaluators import TRAINING_TABLE

GQA = {"kind": "gqa", "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
MLP = {"kind": "mlp", "d_ff": 32}
# Its first product of [256, 32] with [32, 2^30] does not fit any memory; nor does its weight.
TOO_LARGE = {"kind": "mlp", "d_ff": 2**40}

ROOT = Path(__file__).parents[2]
Prepared = Callable[..., OpenedSearch]
Candidates = Callable[..., list[dict[str, Any]]]


def train(setting: OpenedSearch, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    """Trains the rows as generation 0, shard 0; returns the final rows as reported, in order of ending."""
    reported: list[dict[str, Any]] = []
    shard, launcher = Shard(setting, rows, 0, 0), Launcher()
    evaluate_shard(Training(**options), shard, report=lambda row, done, total: reported.append(row), launcher=launcher)
    return reported


def test_failures_are_rows_and_the_others_go_on(prepared: Prepared, candidates: Candidates) -> None:
    setting = prepared()
    train(setting, candidates([GQA, MLP], [GQA, TOO_LARGE]))
    rows = read_table(setting.folder.shard(0, "training", 0), TRAINING).sort("candidate")
    assert rows["status"].to_list() == ["ok", "out_of_memory"]
    assert rows["error"][0] is None
    assert "allocate" in rows["error"][1]
    assert rows["val_bits_per_byte"].is_null().to_list() == [False, True]


def test_every_candidate_sees_the_same_seeds(prepared: Prepared, candidates: Candidates) -> None:
    setting = prepared()
    train(setting, candidates([GQA, MLP], [MLP, GQA]), replicates=range(2))
    rows = read_table(setting.folder.shard(0, "training", 0), TRAINING)
    assert rows.height == 4
    assert rows.group_by("replicate").n_unique().select("init_seed", "data_seed").rows() == [(1, 1), (1, 1)]
    assert rows["init_seed"].n_unique() == 2


def test_a_candidate_is_trained_at_every_rate_with_equal_seeds_and_tokens(
    prepared: Prepared, candidates: Candidates
) -> None:
    setting = prepared(recipe={"learning_rate": [1e-3, 1e-2]})
    train(setting, candidates([GQA, MLP]))
    rows = read_table(setting.folder.shard(0, "training", 0), TRAINING).sort("rate")
    assert rows["learning_rate"].to_list() == [1e-3, 1e-2]
    assert rows.select("init_seed", "data_seed", "tokens").n_unique() == 1
    assert rows["recipe_id"].n_unique() == rows["val_bits_per_byte"].n_unique() == 2
    curves = read_table(setting.folder.shard(0, "curves", 0), CURVES)
    assert curves.group_by("rate").len().sort("rate").rows() == [(0, 4), (1, 4)]


def test_every_rung_is_a_row_and_a_curve_and_the_last_one_counts(prepared: Prepared, candidates: Candidates) -> None:
    setting = prepared(recipe={"tokens": 8 * 256, "rungs": [2 * 256, 4 * 256]})
    (told,) = train(setting, candidates([GQA, MLP]))
    training = read_table(setting.folder.shard(0, "training", 0), TRAINING).sort("rung")
    assert training.select("rung", "tokens", "steps").rows() == [(0, 512, 2), (1, 1024, 4), (2, 2048, 8)]
    assert training["val_bits_per_byte"].n_unique() == 3
    assert training["flops"].to_list() == [training["flops"][0] * factor for factor in (1, 2, 4)]
    # What the training took is told once.
    assert [seconds > 0 for seconds in training["device_seconds"]] == [False, False, True]
    assert told["rung"] == 2
    assert best_runs(training.lazy()).collect()["tokens"].to_list() == [2048]
    curves = read_table(setting.folder.shard(0, "curves", 0), CURVES)
    assert curves.group_by("rung").len().sort("rung").rows() == [(0, 2), (1, 4), (2, 8)]
    assert setting.config.recipe.all_tokens == 2048 + 256 + 256


def test_a_death_is_a_row_of_every_rung(prepared: Prepared, candidates: Candidates) -> None:
    setting = prepared(
        recipe={"tokens": 8 * 256, "rungs": [2 * 256]}, execution={"memory_limit_gb": 1.0, "attempts": 1}
    )
    wide = [{"kind": "mlp", "d_ff": 2**21}]
    train(setting, candidates(wide))
    training = read_table(setting.folder.shard(0, "training", 0), TRAINING).sort("rung")
    assert training.select("rung", "status").rows() == [(0, "out_of_memory"), (1, "out_of_memory")]
    assert TRAINING_TABLE.failures(training.lazy()).collect()["rung"].to_list() == [1]


def test_one_rate_that_diverges_fails_nobody(prepared: Prepared, candidates: Candidates) -> None:
    setting = prepared(
        recipe={"learning_rate": [1.0, 1e-3], "gradient_clip": 0.0, "warmup_tokens": 0, "tokens": 64 * 256}
    )
    train(setting, candidates([GQA, MLP]))
    training = read_table(setting.folder.shard(0, "training", 0), TRAINING).lazy()
    assert training.collect().sort("rate")["status"].to_list() == ["diverged", "ok"]
    assert best_runs(training).collect().select("candidate", "rate").rows() == [(0, 1)]


def test_a_row_has_the_standard_error_and_the_works(prepared: Prepared, candidates: Candidates) -> None:
    setting = prepared()
    train(setting, candidates([GQA, MLP]))
    (row,) = read_table(setting.folder.shard(0, "training", 0), TRAINING).to_dicts()
    assert 0 < row["val_standard_error"] < 0.5
    works = row["val_works"]
    assert sum(one["bytes"] * one["bits_per_byte"] for one in works) == pytest.approx(
        row["val_bits_per_byte"] * sum(one["bytes"] for one in works)
    )
    assert row["test_works"] is None


def test_the_time_limit_ends_in_a_row(prepared: Prepared, candidates: Candidates) -> None:
    setting = prepared(execution={"time_limit_seconds": 1e-6})
    (row,) = train(setting, candidates([GQA, MLP]))
    assert row["status"] == "timed_out"


def test_divergence_ends_in_a_row_with_its_curve(prepared: Prepared, candidates: Candidates) -> None:
    recipe = {"learning_rate": 1.0, "gradient_clip": 0.0, "warmup_tokens": 0, "tokens": 64 * 256}
    setting = prepared(recipe=recipe)
    (row,) = train(setting, candidates([GQA, MLP]))
    assert row["status"] == "diverged"
    assert read_table(setting.folder.shard(0, "curves", 0), CURVES).height > 0


def test_a_memory_limit_holds_for_the_candidate(prepared: Prepared, candidates: Candidates) -> None:
    wide = [{"kind": "mlp", "d_ff": 2**21}]
    setting = prepared(execution={"memory_limit_gb": 1.0})
    small, large = sorted(train(setting, candidates([GQA, MLP], wide)), key=lambda row: row["candidate"])
    assert (small["status"], large["status"]) == ("ok", "out_of_memory"), small["error"]


def test_what_fits_no_device_is_a_row_and_what_fits_with_less_takes_less(
    prepared: Prepared, candidates: Candidates, tmp_path: Path
) -> None:
    machine = yaml.safe_load((ROOT / "resources" / "machines" / "frontier.yaml").read_text())
    machine["memory_bytes"]["value"], machine["reserved_memory_bytes"]["value"] = 7e6, 1e6
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(machine))
    setting = prepared(execution={"machine": str(path)})
    small, long, wide = [GQA], [GQA, {"kind": "mlp", "d_ff": 1024}], [GQA, {"kind": "mlp", "d_ff": 2**17}]
    reported = train(setting, candidates(small, long, wide))
    # It is known before anything is started.
    assert reported[0]["candidate"] == 2
    rows = read_table(setting.folder.shard(0, "training", 0), TRAINING).sort("candidate")
    assert rows["status"].to_list() == ["ok", "ok", "out_of_memory"]
    assert [json.loads(layout).get("micro_batch_size") for layout in rows["layout"]] == [None, 2, None]
    assert "predicted to need" in rows["error"][2]
    assert rows.select("device_seconds", "steps").rows()[2] == (0.0, 0)
    assert train(setting, candidates(small, long, wide)) == []


def test_what_the_journal_holds_is_not_trained_again(prepared: Prepared, candidates: Candidates) -> None:
    setting, rows = prepared(), candidates([GQA, MLP], [MLP, GQA])
    first = train(setting, rows)
    whole = read_table(setting.folder.shard(0, "training", 0), TRAINING)
    journal = setting.work("training", 0, 0) / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    finals = [index for index, line in enumerate(lines) if json.loads(line)["event"] == "final"]
    # As a kill leaves it: one final record whole, the other torn, no Parquet file.
    journal.write_text("".join(lines[: finals[1]]) + lines[finals[1]][:40])
    setting.folder.shard(0, "training", 0).unlink()
    (again,) = train(setting, rows)
    assert again["architecture_id"] == json.loads(lines[finals[1]])["answer"]["row"]["architecture_id"]
    assert len(first) == 2
    losses = read_table(setting.folder.shard(0, "training", 0), TRAINING).sort("candidate")["val_loss"]
    assert losses.equals(whole.sort("candidate")["val_loss"])


def test_a_journal_from_before_a_column_is_believed(prepared: Prepared, candidates: Candidates) -> None:
    """A search that another minor version has begun goes on with what it has."""
    setting, rows = prepared(), candidates([GQA, MLP], [MLP, GQA])
    train(setting, rows)
    tables = {name: setting.folder.shard(0, name, 0) for name in ("training", "curves")}
    written = {name: path.read_bytes() for name, path in tables.items()}
    journal = setting.work("training", 0, 0) / "journal.jsonl"
    text = journal.read_text()
    assert text.count('"rung":0,') == 2
    journal.write_text(text.replace('"rung":0,', ""))
    for path in tables.values():
        path.unlink()
    assert train(setting, rows) == []
    assert {name: path.read_bytes() for name, path in tables.items()} == written


def test_deaths_are_counted_over_restarts(prepared: Prepared, candidates: Candidates) -> None:
    setting, rows = prepared(), candidates([GQA, MLP])
    work = setting.work("training", 0, 0)
    work.mkdir(parents=True)
    key = f"00000-{rows[0]['architecture_id']}-r0"
    (work / "journal.jsonl").write_text(json.dumps({"event": "death", "key": key, "error": "x"}) + "\n")
    (row,) = train(setting, rows)
    assert row["attempt"] == 2


def test_a_candidate_that_dies_each_time_has_crashed(
    prepared: Prepared, candidates: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmony_core.evaluation.evaluators.training.TARGET", "tests.workers.targets:die")
    setting = prepared()
    (row,) = train(setting, candidates([GQA, MLP]))
    # Killed from outside, on the only node there is: that has a third try.
    assert (row["status"], row["attempt"]) == ("crashed", 3)
    assert "signal 9" in row["error"]
    assert read_table(setting.folder.shard(0, "training", 0), TRAINING)["status"].to_list() == ["crashed"]


def test_two_processes_on_one_shard_train_it_once(prepared: Prepared, candidates: Candidates, tmp_path: Path) -> None:
    import threading

    setting, rows = prepared(), candidates([GQA, MLP], [MLP, GQA])
    reports: list[list[dict[str, Any]]] = [[], []]

    def work(index: int) -> None:
        shard, told = Shard(setting, rows, 0, 0), reports[index]
        evaluate_shard(Training(), shard, report=lambda row, done, total: told.append(row), launcher=Launcher())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(of_one) for of_one in reports) == [0, 2]


def test_a_journal_of_another_recipe_is_not_believed(prepared: Prepared, candidates: Candidates) -> None:
    setting, rows = prepared(), candidates([GQA, MLP])
    (first,) = train(setting, rows)
    (second,) = train(setting, rows, recipe=setting.recipe.model_copy(update={"learning_rate": 1e-4}))
    assert second["recipe_id"] != first["recipe_id"]
    assert second["val_loss"] != first["val_loss"]


def test_a_damaged_shard_stops_the_step_and_blames_no_candidate(prepared: Prepared, candidates: Candidates) -> None:
    setting, rows = prepared(), candidates([GQA, MLP])
    (shard,) = setting.data_folder.glob("train*.bin")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=shard.name):
        train(setting, rows)
    assert not setting.folder.shard(0, "training", 0).exists()
    # The error's advice: take the folder away, and it is made again.
    shutil.rmtree(setting.data_folder)
    (row,) = train(setting, rows)
    assert row["status"] == "ok"


def test_other_data_under_the_same_name_is_refused(prepared: Prepared, candidates: Candidates) -> None:
    setting, rows = prepared(), candidates([GQA, MLP])
    data = {**setting.manifest.data, "checksum": "0" * 64}
    other = dataclasses.replace(setting, manifest=setting.manifest.model_copy(update={"data": data}))
    with pytest.raises(UserError, match="another checksum"):
        train(other, rows)


def test_a_user_error_in_a_candidate_stops_the_step(
    prepared: Prepared, candidates: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmony_core.evaluation.evaluators.training.TARGET", "tests.workers.targets:complain")
    setting = prepared()
    with pytest.raises(UserError, match="disk: full: make room"):
        train(setting, candidates([GQA, MLP]))
    assert not setting.folder.shard(0, "training", 0).exists()
