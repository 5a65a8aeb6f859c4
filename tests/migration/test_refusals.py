"""What is not migrated, each in one line, and a search of today, which need not be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmony_core.errors import UserError
from harmony_core.migration import migrate
from harmony_core.store import SearchFolder
from harmony_core.workflow import main_lease
from tests.migration.conftest import content, harmony, refused

Migrated = Callable[[str], Path]
Old = Callable[[str], Path]


def test_the_command_says_what_it_did(old: Old, tmp_path: Path) -> None:
    source = old("half-run")
    done = harmony("migrate", source, "new", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{source}: of format version 2, not changed"
    assert "configuration: recipe.warmup_fraction 0.05 -> warmup_tokens 512" in lines
    assert "written anew: 12 tables with 120 rows, 4 journals" in lines
    assert "new: of format version 3" in lines
    assert "began in format version 2, and is read but not gone on with" in lines[-1]


def test_one_of_this_format_says_so_and_nothing_is_written(migrated: Migrated, tmp_path: Path) -> None:
    done = harmony("migrate", migrated("finished"), tmp_path / "new", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of format version 3 already, nothing to be done" in done.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["file", "full", "itself", "within"])
def test_a_destination_that_holds_something_is_refused(kind: str, old: Old, tmp_path: Path) -> None:
    source = old("finished")
    destination = {"itself": source, "within": source / "new"}.get(kind, tmp_path / "new")
    if kind == "file":
        destination.write_text("mine")
    elif kind == "full":
        destination.mkdir()
        (destination / "notes.txt").write_text("mine")
    before = content(tmp_path)
    refused(harmony("migrate", source, destination, cwd=tmp_path), "destination: ")
    assert content(tmp_path) == before


def test_an_empty_folder_is_taken(old: Old, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert migrate(SearchFolder(old("finished")), tmp_path / "new") is not None


def test_a_search_that_runs_is_not_migrated(old: Old, tmp_path: Path) -> None:
    source = old("half-run")
    lease = main_lease(SearchFolder(source))
    lease.acquire()
    try:
        refused(harmony("migrate", source, tmp_path / "new", cwd=tmp_path), "already run by")
    finally:
        lease.release()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("version", "told"), [(1, "use the one that wrote it"), (4, "a newer HARMONY wrote it")])
def test_other_formats_are_refused(version: int, told: str, old: Old, tmp_path: Path) -> None:
    source = old("finished")
    manifest = json.loads((source / "manifest.json").read_text())
    (source / "manifest.json").write_text(json.dumps({**manifest, "format_version": version}))
    refused(harmony("migrate", source, tmp_path / "new", cwd=tmp_path), f"format_version: {version}", told)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["not JSON", "no config", "no recipe", "an unknown key"])
def test_a_damaged_manifest_is_one_line(damage: str, old: Old, tmp_path: Path) -> None:
    source = old("finished")
    path = source / "manifest.json"
    manifest = json.loads(path.read_text())
    if damage == "no config":
        del manifest["config"]
    elif damage == "no recipe":
        manifest["config"]["recipe"] = []
    elif damage == "an unknown key":
        manifest["config"]["search"]["color"] = 1
    path.write_text("{" if damage == "not JSON" else json.dumps(manifest))
    refused(harmony("migrate", source, tmp_path / "new", cwd=tmp_path), str(path))
    assert not (tmp_path / "new").exists()


def test_a_damaged_table_is_one_line_and_once_restored_it_goes_on(old: Old, tmp_path: Path) -> None:
    source = old("finished")
    path = source / "generation=001" / "training" / "shard=000.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(harmony("migrate", source, tmp_path / "new", cwd=tmp_path), str(path))
    path.write_bytes(whole)
    assert harmony("migrate", source, tmp_path / "new", cwd=tmp_path).returncode == 0


def test_an_id_that_is_not_its_architectures_is_refused(old: Old, tmp_path: Path) -> None:
    source = old("finished")
    path = source / "generation=001" / "population.parquet"
    table = pq.read_table(path)
    ids = [f"{0:016d}", *table["architecture_id"].to_pylist()[1:]]
    column = table.schema.get_field_index("architecture_id")
    changed = table.set_column(column, table.schema.field(column), pa.array(ids))
    pq.write_table(changed, path, write_page_checksum=True)
    with pytest.raises(
        UserError, match=r"population\.parquet: architecture_id 0000000000000000: this HARMONY computes"
    ):
        migrate(SearchFolder(source), tmp_path / "new")
