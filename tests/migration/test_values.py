"""What a migrated search holds is what the old one held, read here without HARMONY's own reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harmony_core.migration.rows import TODAY, migrated_row
from harmony_core.migration.version2 import TABLES
from harmony_core.store import Journal, read_manifest, read_table, write_table
from harmony_core.store.versions import version_of
from tests.migration.conftest import NAMES, SEARCHES

Migrated = Callable[[str], Path]

NEW_COLUMNS = {
    "training": {
        "rate": 0,
        "rung": 0,
        "val_standard_error": None,
        "val_works": None,
        "test_standard_error": None,
        "test_works": None,
    },
    "curves": {"rate": 0, "rung": 0},
    "latency": {"relative": None, "reference_movement": None, "marked": None},
    "population": {},
    "ledger": {},
    "selection": {},
}


def table_of(path: Path) -> str:
    return path.parent.name if path.stem.startswith("shard=") else path.stem


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_every_table_is_as_it_was(name: str, migrated: Migrated) -> None:
    old, new = SEARCHES / name, migrated(name)
    paths = sorted(path.relative_to(old) for path in old.rglob("*.parquet"))
    assert paths == sorted(path.relative_to(new) for path in new.rglob("*.parquet"))
    for path in paths:
        before, after = pq.read_table(old / path), pq.read_table(new / path)
        assert before.num_rows == after.num_rows
        for column in before.column_names:
            assert before[column].to_pylist() == after[column].to_pylist(), (path, column)
        assert after.schema.equals(TODAY[table_of(path)])
        assert version_of(after.schema) == version_of(TODAY[table_of(path)])


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_recorded_is_null_or_has_its_one_right_value(name: str, migrated: Migrated) -> None:
    for path in migrated(name).rglob("*.parquet"):
        rows = pq.read_table(path).to_pylist()
        assert rows or table_of(path) == "ledger"
        for row in rows:
            assert {column: row[column] for column in NEW_COLUMNS[table_of(path)]} == NEW_COLUMNS[table_of(path)]
            if table_of(path) == "latency":
                # What a search of version 2 looked at.
                assert row["latency_seconds"] == row["seconds_median"] is not None
                assert row["measurements"] == (1 if row["source"] == "measured" else 0)


def test_a_candidate_that_failed_keeps_its_nulls_and_nans(tmp_path: Path) -> None:
    blank: dict[str, Any] = {field.name: None if field.nullable else 0 for field in TABLES["training"]}
    texts = {field.name: "text" for field in TABLES["training"] if str(field.type) == "string" and not field.nullable}
    named = {"status": "diverged", "precision": "fp32", "lr_scaling": "none", "started_at": datetime.now(UTC)}
    row = {**blank, **texts, **named, "train_loss": float("nan"), "error": "loss is nan at step 3"}
    write_table(tmp_path / "t", [migrated_row("training", row)], TODAY["training"])
    (found,) = read_table(tmp_path / "t", TODAY["training"]).to_dicts()
    assert found["train_loss"] != found["train_loss"]
    assert (found["val_loss"], found["error"], found["rung"]) == (None, "loss is nan at step 3", 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_keeps_the_old_one_whole(name: str, migrated: Migrated) -> None:
    before = json.loads((SEARCHES / name / "manifest.json").read_text())
    manifest = read_manifest(migrated(name) / "manifest.json")
    assert manifest.migrated_from == before
    kept = ("seed", "precision", "packages", "git_commit", "data", "machine")
    assert {key: getattr(manifest, key) for key in kept} == {key: before[key] for key in kept}
    assert manifest.config["space"] == before["config"]["space"]
    assert manifest.config["search"]["algorithm"] == before["config"]["search"]["algorithm"]
    assert manifest.hypervolume == before["hypervolume"]


def test_a_result_that_no_table_has_yet_stays_in_its_journal(migrated: Migrated) -> None:
    path = Path("work/training/generation=001/shard=000/journal.jsonl")
    assert not (SEARCHES / "half-run" / "generation=001" / "training").exists()
    before, after = (Journal(folder / path).records() for folder in (SEARCHES / "half-run", migrated("half-run")))
    (final,) = [record["answer"] for record in before if record["event"] == "final"]
    (now,) = [record["answer"] for record in after if record["event"] == "final"]
    assert now["curve"] == final["curve"]
    assert now["row"] == {**final["row"], **NEW_COLUMNS["training"]}
    assert [record["event"] for record in after] == [record["event"] for record in before]


@pytest.mark.parametrize("name", NAMES)
def test_times_of_files_keep_their_order(name: str, migrated: Migrated) -> None:
    """To Snakemake what is newer than what was made from it is a reason to make that again."""
    for path in (path for path in migrated(name).rglob("*") if path.is_file()):
        assert path.stat().st_mtime_ns == (SEARCHES / name / path.relative_to(migrated(name))).stat().st_mtime_ns
