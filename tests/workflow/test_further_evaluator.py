"""A search that measures what HARMONY does not know: its evaluator is installed, and the configuration names it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from harmony_core.results import leaderboard
from harmony_core.store import SearchFolder, missing, population, results, selection
from tests.plugins.harmony_toys import evaluator
from tests.plugins.install import environment, install
from tests.workflow.conftest import ROOT, Completed, command, harmony, write_config

assert evaluator
EVALUATORS = ["training", "latency", "toy"]


def run(folder: Path, config: Path, plugin: Path | None, *arguments: str) -> Completed:
    call, env = command(folder, config, *arguments), environment(plugin)
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=ROOT, env=env)


def configured(folder: Path, evaluators: list[str] | None = None) -> Path:
    """The tiny search, smaller; the promoted are one preset."""
    path = write_config(
        folder,
        search={
            "generations": 1,
            "population": 2,
            "objectives": [{"name": "val_bits_per_byte"}, {"name": "num_params"}],
        },
        recipe={"tokens": 512},
        promote={"top_k": 0, "baselines": ["llama-nano"]},
    )
    if evaluators is not None:
        with path.open("a") as file:
            file.write(f"evaluators: {json.dumps(evaluators)}\n")
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a finished search that the toy has measured, and where the toy is installed."""
    folder, plugin = tmp_path_factory.mktemp("measured"), install(tmp_path_factory.mktemp("site") / "packages")
    done = run(folder, configured(folder, EVALUATORS), plugin)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, plugin


def test_its_table_is_in_the_search_and_in_the_measured_view(measured: tuple[Path, Path]) -> None:
    folder = measured[0] / "results" / "tiny"
    for place in ("generation=000/toy/shard=000", "promoted/shard=000/toy"):
        assert (folder / f"{place}.parquet").is_file()
    # Of blocks that take turns half mix; a share is that of the very architecture.
    born = population(folder).select("architecture_id", "architecture").collect()
    shares = {
        one: sum(block["kind"] not in ("mlp", "moe") for block in blocks) / len(blocks)
        for one, text in born.iter_rows()
        for blocks in [json.loads(text)["blocks"]]
    }
    assert dict(results(folder, "toy").select("architecture_id", "mixing_share").collect().iter_rows()) == shares
    assert dict(leaderboard(folder).select("architecture_id", "mixing_share").collect().iter_rows()) == shares
    assert results(folder, "toy", promoted=True).select(pl.col("status")).collect()["status"].to_list() == ["ok"]


def test_it_has_a_rule_of_its_own(measured: tuple[Path, Path], tmp_path: Path) -> None:
    rules = run(tmp_path, measured[0] / "config.yaml", measured[1], "--list-rules")
    assert "evaluate_toy" in (rules.stdout + rules.stderr).split()
    told = run(
        tmp_path,
        measured[0] / "config.yaml",
        measured[1],
        "-n",
        "--quiet",
        "host",
        "--set-resources",
        "evaluate_toy:nodes=3",
    )
    jobs = (told.stdout + told.stderr).split("\nrule ")
    (resources,) = {
        line for job in jobs if job.startswith("evaluate_toy") for line in job.splitlines() if "nodes" in line
    }
    assert "nodes=3" in resources
    log = measured[0] / "results" / "tiny" / "work" / "logs" / "toy" / "generation=000" / "shard=000.log"
    assert log.is_file()


def test_nothing_is_left_to_do_and_what_is_gone_is_missed(measured: tuple[Path, Path], tmp_path: Path) -> None:
    folder, plugin = measured
    again = run(folder, folder / "config.yaml", plugin, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
    copy = SearchFolder(shutil.copytree(folder / "results" / "tiny", tmp_path / "results" / "tiny"))
    assert missing(copy) == []
    copy.shard(0, "toy", 0).unlink()
    assert missing(copy) == [copy.shard(0, "toy", 0)]


def test_without_it_people_can_ask_and_nobody_can_go_on(measured: tuple[Path, Path]) -> None:
    folder, _ = measured
    best = leaderboard(folder / "results" / "tiny").collect()["architecture_id"][0][:8]
    for arguments in (("top", "tiny"), ("show", best, "--search", "tiny")):
        told = harmony(folder, *arguments)
        assert (told.returncode, best in told.stdout) == (0, True), told.stderr
    refused = run(folder, folder / "config.yaml", None, "-n")
    assert refused.returncode != 0
    (line,) = (line for line in (refused.stdout + refused.stderr).splitlines() if line.startswith("error:"))
    assert line.startswith("error: plugins: harmony-toys 1.0: not installed, and the search was begun with it ")


def test_what_is_measured_is_a_part_of_what_a_search_is(measured: tuple[Path, Path]) -> None:
    folder, plugin = measured
    told = run(folder, configured(folder), plugin, "-n")
    configured(folder, EVALUATORS)
    (line,) = (line for line in (told.stdout + told.stderr).splitlines() if line.startswith("error:"))
    assert "evaluators" in line


def test_a_search_may_go_by_mad_scores_and_without_latency(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        search={
            "generations": 1,
            "population": 2,
            "objectives": [{"name": "val_bits_per_byte"}, {"name": "mad_score"}],
        },
        recipe={"tokens": 512},
        promote={"top_k": 1, "baselines": []},
        mad={"tasks": ["memorisation", "compression"], "weights": {"memorisation": 3.0}, "steps": 16},
    )
    with config.open("a") as file:
        file.write("evaluators: [training, mad]\n")
    done = run(tmp_path, config, None)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results" / "tiny"
    assert not list(folder.rglob("latency"))
    best = leaderboard(folder).collect()
    assert best["latency_seconds"].null_count() == len(best) == 2
    rows = {row["candidate"]: row for row in results(folder, "mad").collect().to_dicts()}
    for row in selection(folder).collect().to_dicts():
        own = rows[row["candidate"]]
        weighted = (3 * own["mad_memorisation"] + own["mad_compression"]) / 4
        assert row["mad_score"] == own["mad_score"] == pytest.approx(weighted)
        assert own["mad_fuzzy_recall"] is None
    seeds = {promoted: set(results(folder, "mad", promoted=promoted).collect()["seed"]) for promoted in (False, True)}
    assert len(seeds[False]) == len(seeds[True]) == 1
    assert seeds[False] != seeds[True]
    assert harmony(tmp_path, "top", "tiny").returncode == 0
    assert missing(SearchFolder(folder)) == []


def test_a_plugin_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    plugin = install(tmp_path / "site")
    (plugin / "harmony_toys" / "evaluator.py").write_text("import a_library_that_is_not_there\n")
    code = "from harmony_core.store.evaluators import require_table; require_table('toy')"
    call = [sys.executable, "-c", code]
    told = subprocess.run(call, capture_output=True, text=True, check=False, cwd=ROOT, env=environment(plugin))
    last = told.stderr.splitlines()[-1]
    assert last.endswith(
        "harmony.evaluators: toy = harmony_toys.evaluator: ModuleNotFoundError: No module named"
        " 'a_library_that_is_not_there'; mend or uninstall harmony-toys 1.0"
    )


@pytest.mark.parametrize("is_installed", [True, False])
def test_what_it_measures_may_be_an_objective_where_it_is_installed(tmp_path: Path, is_installed: bool) -> None:
    config = write_config(tmp_path, search={"objectives": [{"name": "val_bits_per_byte"}, {"name": "mixing_share"}]})
    with config.open("a") as file:
        file.write(f"evaluators: {json.dumps(EVALUATORS)}\n")
    plugin = install(tmp_path / "packages") if is_installed else None
    check = [sys.executable, "-m", "harmony_core", "config", "check", str(config)]
    told = subprocess.run(check, capture_output=True, text=True, check=False, cwd=ROOT, env=environment(plugin))
    assert (told.returncode == 0) == is_installed, told.stderr
    if not is_installed:
        assert "evaluators: toy: not installed" in told.stderr
        assert "mixing_share" in told.stderr
        assert "Traceback" not in told.stderr
