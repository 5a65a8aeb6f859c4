"""`harmony verify`: a search as it was written is right, and each kind of change to it is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from harmony_core.cli.main import app
from harmony_core.cli.verification import verify
from harmony_core.store import (
    POPULATION,
    SELECTION,
    SearchFolder,
    read_manifest,
    read_table,
    write_manifest,
    write_table,
)
from harmony_core.store.task_scores import task_scores_file
from tests.progress.searches import MadeUpSearch

BITS = [(2.0 + number / 10, 0.1 / (number + 1)) for number in range(8)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    made = MadeUpSearch(tmp_path_factory.mktemp("verify"), {"promote": {"top_k": 2}})
    made.prepare(framed=False)
    for generation in range(2):
        made.finish(generation, dict(enumerate(BITS)))
    return made.folder


@pytest.fixture
def folder(written: SearchFolder, tmp_path: Path) -> SearchFolder:
    copy = tmp_path / "results" / written.name
    shutil.copytree(written.path, copy)
    return SearchFolder(copy)


def wrong(folder: SearchFolder) -> list[str]:
    return [f"{check.what}: {check.told}" for check in verify(folder) if check.right is False]


def test_what_was_written_is_right(folder: SearchFolder) -> None:
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    checks = list(verify(folder))
    assert [check for check in checks if check.right is False] == []
    assert {check.what for check in checks} >= {
        f"generation {number}: {step} again" for number in (0, 1) for step in ("bred", "selected")
    }
    assert [check.told for check in checks if check.what == str(folder.frame)] == ["derived again"]
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def change(path: Path, schema: object, column: str, value: object) -> None:
    """A row that somebody edited, in a file that is whole."""
    rows = read_table(path, schema).to_dicts()  # type: ignore[arg-type]
    write_table(path, [{**rows[0], column: value}, *rows[1:]], schema)  # type: ignore[arg-type]


def write_foreign(path: Path) -> None:
    """A whole file of another table."""
    write_table(path, [], SELECTION)


def change_frame(folder: SearchFolder) -> None:
    """A frame that somebody edited, and that is one."""
    frame = yaml.safe_load(folder.frame.read_text())
    frame["ideal"]["val_bits_per_byte"] *= 0.99
    folder.frame.write_text(yaml.safe_dump(frame))


def flip(path: Path) -> None:
    """A bit of a page."""
    content = bytearray(path.read_bytes())
    content[80] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda one: change(one.population(1), POPULATION, "operator", "luck"), "generation 1: bred again: row 0"),
        (lambda one: change(one.population(0), POPULATION, "num_params", 7), "generation 0: bred again: row 0"),
        (lambda one: change(one.selection(1), SELECTION, "survives", False), "generation 1: selected again: row 0"),
        (lambda one: flip(one.shard(0, "training", 1)), "training/shard=001.parquet"),
        (lambda one: write_foreign(task_scores_file(one, "abc")), "task_scores table of version"),
        (lambda one: change_frame(one), "frame.yaml: ideal is "),
        (lambda one: one.frame.unlink(), "frame.yaml: missing; the next selection"),
        (lambda one: one.frame.write_text("ideal: [\n"), "frame.yaml"),
        (lambda one: one.shard(1, "latency", 0).unlink(), "missing; `harmony resume` makes it again"),
    ],
)
def test_what_was_changed_is_found(folder: SearchFolder, damage: Callable[[SearchFolder], None], told: str) -> None:
    damage(folder)
    assert any(told in line for line in wrong(folder)), wrong(folder)


def test_another_configuration_is_found(folder: SearchFolder) -> None:
    manifest = read_manifest(folder.manifest)
    manifest.config["search"]["seed"] = 2
    write_manifest(folder.manifest, manifest)
    found = wrong(folder)
    assert any("its configuration has the hash" in line for line in found)
    assert any("generation 0: bred again" in line for line in found)


def test_the_command_counts(folder: SearchFolder) -> None:
    done = CliRunner().invoke(app, ["verify", str(folder.path)])
    assert (done.exit_code, done.output.splitlines()[-1].partition(",")[2]) == (0, " 0 failed, 1 not made")
    names = read_table(folder.population(0), POPULATION)["pattern"].to_list()
    change(folder.population(0), POPULATION, "pattern", "[red]\x1b[31m")
    done = CliRunner().invoke(app, ["verify", str(folder.path)])
    assert done.exit_code == 1
    assert names[0] in done.output
    assert "\x1b" not in done.output
