"""A finished search of which files were deleted, or that was copied: `harmony resume` makes it whole, and no more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.workflow.compare import stable
from tests.workflow.conftest import Completed, harmony, search, write_config

Copy = Callable[[Path], Path]


def contents(results: Path) -> dict[str, bytes]:
    """The files that hold results: all but logs, journals and the report."""
    paths = (path for path in results.rglob("*") if path.is_file())
    return {
        name: path.read_bytes()
        for name, path in ((str(path.relative_to(results)), path) for path in paths)
        if not name.startswith(("work/", "report/"))
    }


def differing(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """A folder with the finished search, as if it had run there."""
    folder = tmp_path / "own"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".snakemake"))
    write_config(folder)
    main = folder / "results" / "tiny" / "work" / "main.json"
    main.write_text(main.read_text().replace(str(finished), str(folder)))
    return folder


def ok(done: Completed) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_deleted_shard_and_population_come_back_as_they_were(own: Path) -> None:
    results = own / "results" / "tiny"
    before = contents(results)
    gone = ["generation=000/population.parquet", "generation=000/training/shard=000.parquet"]
    for name in gone:
        (results / name).unlink()
    lines = [f"missing: results/tiny/{name}; `harmony resume results/tiny` makes it again" for name in gone]
    # The next run has nothing to do, and says what is gone.
    told = search(own, own / "config.yaml")
    assert "Nothing to be done" in ok(told)
    assert [line for line in told.stderr.splitlines() if line.startswith("missing: ")] == lines
    # So does whoever asks; four of eight candidates are no answer.
    for command in ("top", "pareto"):
        asked = harmony(own, command, "tiny")
        assert asked.returncode == 1
        assert asked.stderr.splitlines() == lines
    resumed = ok(harmony(own, "resume", "tiny"))
    # From the journal: nobody was trained again, and nothing that was made from them was.
    assert differing(before, contents(results)) == set()
    assert "Nothing to be done" in resumed
    assert "Nothing to be done" in ok(search(own, own / "config.yaml"))
    assert ok(harmony(own, "top", "tiny")).count("\n") > 8


def test_a_shard_whose_journal_is_gone_is_trained_again_and_nothing_else(own: Path) -> None:
    results = own / "results" / "tiny"
    before = contents(results)
    name = "generation=001/training/shard=000.parquet"
    rows = stable(pl.read_parquet(results / name, hive_partitioning=False))
    (results / name).unlink()
    # And with the journals how the search was started.
    shutil.rmtree(results / "work")
    refused = harmony(own, "resume", "tiny")
    assert refused.returncode == 2
    assert "work/ is gone" in refused.stderr
    assert "--profile local" in refused.stderr
    ok(harmony(own, "resume", "tiny", "--profile", "local"))
    assert differing(before, contents(results)) <= {name, "generation=001/curves/shard=000.parquet"}
    assert stable(pl.read_parquet(results / name, hive_partitioning=False)).equals(rows)


def test_a_finished_search_without_its_work_folder_is_done(own: Path) -> None:
    results = own / "results" / "tiny"
    shutil.rmtree(results / "work")
    before = contents(results)
    assert ok(harmony(own, "resume", "tiny")) == "search tiny: finished, nothing to be done\n"
    assert "Nothing to be done" in ok(harmony(own, "resume", "tiny", "--profile", "local"))
    assert differing(before, contents(results)) == set()


def test_a_copy_is_adopted_and_the_original_stays(own: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    # Times as `cp -r` leaves them, in any order.
    shutil.copytree(own / "results", copy / "results", copy_function=shutil.copyfile)
    (copy / "results" / "tiny" / "generation=001" / "curves" / "shard=000.parquet").unlink()
    before, original = contents(own / "results" / "tiny"), {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    refused = harmony(copy, "resume", "tiny")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"it ran as {own}/results/tiny" in refused.stderr
    ok(harmony(copy, "resume", "tiny", "--adopt"))
    assert differing(before, contents(copy / "results" / "tiny")) == set()
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*")} == original
    # From now on it belongs here.
    assert "Nothing to be done" in ok(harmony(copy, "resume", "tiny"))


def test_generations_without_a_manifest_are_not_made_again(own: Path) -> None:
    results = own / "results" / "tiny"
    (results / "manifest.json").unlink()
    before = contents(results)
    refused = search(own, write_config(own, search={"generations": 3}))
    assert refused.returncode != 0
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert (
        line
        == "error: results/tiny/manifest.json: missing: restore it: it says what the search is, and is not made again"
    )
    assert differing(before, contents(results)) == set()
