"""A whole search through Snakemake: what it leaves behind, that it repeats itself, what people may ask of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from harmony_core.evolution.generation import select_generation
from harmony_core.results import leaderboard
from harmony_core.store import SearchFolder, curves, latency, population, selection, training
from tests.workflow.compare import assert_same, stable
from tests.workflow.conftest import harmony, search, write_config


def test_every_candidate_has_a_final_row(finished: Path) -> None:
    results = finished / "results" / "tiny"
    rows = population(results).collect()
    trained = training(results).collect()
    assert rows.height == 8
    assert rows["architecture_id"].n_unique() == 8
    assert sorted(trained["architecture_id"]) == sorted(rows["architecture_id"])
    assert set(trained["status"]) == {"ok"}
    assert trained["test_loss"].null_count() == trained.height
    assert curves(results).collect().height == 8 * 8
    assert latency(results).collect().height == 8 * 3


def test_generation_1_is_bred_from_survivors_of_generation_0(finished: Path) -> None:
    results = finished / "results" / "tiny"
    survivors = selection(results).filter((pl.col("generation") == 0) & pl.col("survives")).collect()
    children = population(results).filter(pl.col("generation") == 1).collect()
    parents = {parent for row in children["parents"] for parent in row}
    assert parents
    assert parents <= set(survivors["architecture_id"])


def test_generation_0_holds_no_preset(finished: Path) -> None:
    assert set(population(finished / "results" / "tiny").collect()["origin"]) <= {"sample", "mutation", "crossover"}


def test_promotion_reads_the_test_split_on_fresh_seeds(finished: Path) -> None:
    results = finished / "results" / "tiny"
    promoted = training(results, promoted=True).collect()
    assert set(population(results, promoted=True).collect()["role"]) == {"front", "baseline"}
    assert promoted["test_bits_per_byte"].null_count() == 0
    assert not set(promoted["init_seed"]) & set(training(results).collect()["init_seed"])


def test_the_report_is_written(finished: Path) -> None:
    assert "<html" in (finished / "results" / "tiny" / "report" / "index.html").read_text().lower()


def test_snakemakes_own_report_has_it(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "snakemake.html"
    done = search(finished, finished / "config.yaml", "--report", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/tiny/report/index.html" in page.read_text()


def test_nothing_is_left_to_do(finished: Path) -> None:
    again = search(finished, finished / "config.yaml", "-n")
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def test_two_runs_are_identical_whatever_the_number_of_workers(finished: Path, tmp_path: Path) -> None:
    done = search(tmp_path, write_config(tmp_path, execution={"candidates_per_job": 4, "workers": 1}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(finished / "results" / "tiny", tmp_path / "results" / "tiny")


def test_selections_follow_from_the_recorded_rows(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished / "results", tmp_path / "results")) / "tiny"
    for generation in (0, 1):
        path = SearchFolder(copy).selection(generation)
        before = stable(pl.read_parquet(path, hive_partitioning=False))
        path.unlink()
        select_generation(SearchFolder(copy), generation)
        assert stable(pl.read_parquet(path, hive_partitioning=False)).equals(before)


def test_people_can_ask(finished: Path) -> None:
    results = str(finished / "results" / "tiny")
    best = leaderboard(results).collect()["architecture_id"][0]
    for arguments in (("top", results), ("pareto", results), ("show", best[:8], "--search", results)):
        answer = harmony(finished, *arguments)
        assert answer.returncode == 0, answer.stderr
        assert best[:8] in answer.stdout
    assert "llama-nano" in harmony(finished, "top", results).stdout


def test_a_row_is_enough_to_train_it_again(finished: Path) -> None:
    results = finished / "results" / "tiny"
    (found,) = training(results, promoted=True).filter(pl.col("candidate") == 0).collect().to_dicts()
    before = {path: path.read_bytes() for path in results.rglob("*.parquet")}
    told = harmony(finished, "reproduce", found["architecture_id"][:8], "--search", str(results), "--promoted")
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count(str(found["test_loss"])) == 2
    assert f"equal to the bit, as are the losses of all {found['steps']} steps" in told.stdout
    assert {path: path.read_bytes() for path in results.rglob("*.parquet")} == before


def test_what_was_found_is_exported_as_it_was_trained(finished: Path, tmp_path: Path) -> None:
    results, folder = finished / "results" / "tiny", tmp_path / "exported"
    (found,) = training(results, promoted=True).filter(pl.col("candidate") == 0).collect().to_dicts()
    call = ("export", found["architecture_id"][:8], "--search", str(results), "-o", str(folder))
    told = harmony(finished, *call)
    assert told.returncode == 0, told.stderr
    code = """
import sys, torch
from transformers import AutoModelForCausalLM
from harmony_core.data import TokenDataset
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
nats = count = 0
for rows in TokenDataset(sys.argv[2], "test").windows(4, 64, 1024):
    tokens = torch.from_numpy(rows).long()
    with torch.no_grad():
        logits = model(tokens[:, :-1]).logits
    nats += torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum").item()
    count += tokens[:, 1:].numel()
print(nats / count)
"""
    data = next((finished / "data").iterdir())
    told = subprocess.run([sys.executable, "-c", code, folder, data], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert float(told.stdout) == pytest.approx(found["test_loss"], rel=1e-5)


def test_a_generation_can_be_added_and_keeps_what_is_there(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / "data", tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("tiny/generation=*/*.parquet")}
    done = search(tmp_path, write_config(tmp_path, search={"generations": 3}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert population(tmp_path / "results" / "tiny").collect()["generation"].max() == 2


def test_more_can_be_promoted_after_the_end_and_less_cannot(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / "data", tmp_path / "data")
    results = tmp_path / "results" / "tiny"
    before = training(results, promoted=True).collect().to_dicts()
    more = write_config(tmp_path, promote={"top_k": 2, "baselines": ["mamba-2-nano", "llama-nano"]})
    done = search(tmp_path, more)
    assert done.returncode == 0, done.stdout + done.stderr
    after = training(results, promoted=True).collect().to_dicts()
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2
    assert "Nothing to be done" in search(tmp_path, more, "-n").stdout
    less = search(tmp_path, write_config(tmp_path, promote={"top_k": 1, "baselines": ["llama-nano"]}), "-n")
    (line,) = (line for line in (less.stdout + less.stderr).splitlines() if line.startswith("error:"))
    assert 'promote.baselines ["mamba-2-nano","llama-nano"] -> ["llama-nano"]; promote.top_k 2 -> 1' in line


def test_dry_run_works_from_the_root(clone: Path) -> None:
    call = [sys.executable, "-m", "snakemake", "-n", "--profile", "local"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mutate" in done.stdout + done.stderr
