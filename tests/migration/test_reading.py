"""Migrated searches are read like others; old ones are refused in one line, and those that were not over say why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from harmony_core.errors import UserError
from harmony_core.progress import ProgressReader
from harmony_core.report.write import write_report
from harmony_core.results import leaderboard, promoted_results
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import SearchFolder
from tests.migration.conftest import NAMES, SEARCHES, Completed, content, harmony, refused

Migrated = Callable[[str], Path]
Old = Callable[[str], Path]

ROOT = Path(__file__).parents[2]
# As HARMONY of version 2 printed them.
HYPERVOLUMES = {"finished": 0.3855, "half-run": 0.3822, "promoted": 0.3861}
ENDED = {"finished": True, "half-run": False, "promoted": True}


def of_tables(name: str, pattern: str) -> pl.DataFrame:
    """All rows of some tables of an old search, read without HARMONY."""
    return pl.concat(
        [pl.read_parquet(path, hive_partitioning=False) for path in sorted(SEARCHES.glob(f"{name}/{pattern}"))]
    )


def snakemake(folder: Path, config: Path, *arguments: str) -> Completed:
    call = [sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles" / "local"), "--cores", "1"]
    place = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(config)]
    return subprocess.run([*call, *place, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_candidates_ids_and_losses_are_those_of_the_old_search(name: str, migrated: Migrated) -> None:
    trained = of_tables(name, "generation=*/training/*.parquet").filter(pl.col("status") == "ok")
    columns = ["generation", "candidate", "architecture_id", "val_loss", "val_bits_per_byte"]
    found = leaderboard(migrated(name)).select(columns).collect()
    assert found.sort("generation", "candidate").equals(trained.select(columns).sort("generation", "candidate"))
    # As the selection saw them.
    selected = of_tables(name, "generation=*/selection.parquet")
    times = leaderboard(migrated(name)).select("architecture_id", "latency_seconds").collect()
    seen = selected.select("architecture_id", "latency_seconds").unique()
    assert seen.join(times, on=["architecture_id", "latency_seconds"]).height == seen.height > 0


def test_promoted_results_are_means_over_the_old_replicates(migrated: Migrated) -> None:
    rows = of_tables("promoted", "promoted/shard=*/training.parquet")
    means = dict(rows.group_by("architecture_id").agg(pl.col("test_bits_per_byte").mean()).iter_rows())
    found = promoted_results(migrated("promoted")).collect()
    assert dict(found.select("architecture_id", "test_bits_per_byte").iter_rows()) == means
    assert found["runs"].to_list() == [2, 2]


@pytest.mark.parametrize("name", NAMES)
def test_progress_tells_the_same_front_and_hypervolume(name: str, migrated: Migrated) -> None:
    progress = ProgressReader(SearchFolder(migrated(name))).read()
    assert progress.finished == ENDED[name]
    ended = [one for one in progress.generations if one.finished]
    hypervolume = ended[-1].standing.hypervolume
    assert hypervolume is not None
    assert round(hypervolume, 4) == HYPERVOLUMES[name]


def test_progress_reads_the_journals_of_what_was_under_way(migrated: Migrated) -> None:
    assert [one.done for one in ProgressReader(SearchFolder(migrated("half-run"))).read().generations] == [3, 1]


@pytest.mark.parametrize("name", NAMES)
def test_top_pareto_show_and_report_read_it(name: str, migrated: Migrated, tmp_path: Path) -> None:
    folder = migrated(name)
    best = leaderboard(folder).collect().row(0, named=True)
    for command in ("top", "pareto"):
        done = harmony(command, folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert best["architecture_id"][:8] in done.stdout
        assert f"{best['val_bits_per_byte']:.3f}" in done.stdout
        assert "None" not in done.stdout
        assert "relative to llama-nano, called in turns" not in done.stdout
    shown = harmony("show", f"{folder}/{best['architecture_id']}", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"validation {best['val_bits_per_byte']:.4f} bits/byte" in " ".join(shown.stdout.split())
    page = write_report(folder, tmp_path / "report").read_text()
    assert best["architecture_id"][:8] in page


def test_what_was_measured_itself_is_not_called_relative(migrated: Migrated, tmp_path: Path) -> None:
    told = " ".join(harmony("top", migrated("finished"), cwd=tmp_path).stdout.split())
    assert "prefill, not relative to llama-nano, which took 13.5 ms to 15.3 ms beside it" in told
    assert "relative to it" not in write_report(migrated("finished"), tmp_path / "report").read_text()


@pytest.mark.parametrize("name", ["finished", "promoted"])
def test_one_that_is_over_has_nothing_to_resume(name: str, migrated: Migrated) -> None:
    done = harmony("resume", name, cwd=migrated(name).parents[1])
    assert done.returncode == 0, done.stderr
    assert "finished, nothing to be done" in done.stdout


def test_one_that_is_not_over_says_why_it_is_not_resumed(migrated: Migrated, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(migrated("half-run"), root / "results" / "half-run")
    before = content(root / "results")
    commit = json.loads((SEARCHES / "half-run" / "manifest.json").read_text())["git_commit"]
    why = ("began in format version 2", "losses were of the validation split's beginning", commit)
    refused(harmony("resume", "half-run", cwd=root), *why)
    refused(harmony("resume", "half-run", "--profile", "local", cwd=root), *why)
    refused(snakemake(root, root / "results" / "half-run" / "work" / "config.json"), *why)
    with pytest.raises(UserError, match="began in format version 2"):
        OpenedSearch.open(root / "results" / "half-run")
    assert content(root / "results") == before


def test_an_old_search_is_refused_in_one_line_and_untouched(old: Old) -> None:
    folder = old("half-run")
    root, before = folder.parents[1], content(folder)
    told = ("format_version: 2", "this HARMONY reads 3", "`harmony migrate results/half-run NEW`")
    for command in ("top", "pareto", "report", "watch", "resume"):
        refused(harmony(command, "half-run", cwd=root), *told)
    refused(harmony("show", "half-run/99195668", cwd=root), "version 2.0", "`harmony migrate OLD NEW`")
    refused(snakemake(root, folder / "work" / "config.json"), *told)
    # A key that is no more is not what is told.
    config = json.loads((folder / "work" / "config.json").read_text())
    config["recipe"]["warmup_fraction"] = 0.1
    (root / "config.json").write_text(json.dumps(config))
    refused(snakemake(root, root / "config.json", "-n"), *told)
    assert content(folder) == before


def test_a_table_of_version_2_alone_is_refused_by_name() -> None:
    from harmony_core.store import TRAINING, read_table

    path = SEARCHES / "finished" / "generation=000" / "training" / "shard=000.parquet"
    with pytest.raises(UserError, match=r"shard=000\.parquet: training table of version 2\.0; .*`harmony migrate"):
        read_table(path, TRAINING)
