"""A whole search through `--profile slurm`: an allocation a shard, a standing allocation, and without any Slurm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from harmony_core.store import latency, population, training
from tests.plugins.install import environment, install
from tests.slurm.cluster import Cluster
from tests.slurm.searches import command
from tests.waiting import PATIENCE
from tests.workflow.compare import assert_same
from tests.workflow.conftest import ROOT, search, write_config

TWO_NODES = ("train:nodes=2", "train:tasks_per_node=1", "train:launcher=srun")
PROMOTE = ("promote:tasks_per_node=1", "promote:launcher=srun")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny search on this machine, without the executor plugin."""
    folder = tmp_path_factory.mktemp("local")
    done = search(folder, write_config(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "tiny"


def run(folder: Path, environment: Mapping[str, str] | None, *arguments: str, **changes: dict[str, object]) -> str:
    """Runs the tiny search with the slurm profile; returns what it printed."""
    write_config(folder, **changes)
    done = subprocess.run(
        command(folder, *arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_allocation_a_shard(local: Path, tmp_path: Path, cluster: Cluster) -> None:
    said = run(tmp_path, cluster.environment, "--set-resources", *TWO_NODES, *PROMOTE)
    assert_same(local, tmp_path / "results" / "tiny")
    # settle, two generations of one shard, promotion
    assert said.count("Slurm job ") == 4


@pytest.mark.parametrize("lag", [0, 1])
def test_a_standing_allocation(local: Path, tmp_path: Path, cluster: Cluster, lag: int) -> None:
    standing = ("--submitit-cluster", "pilot", "--submitit-pilot-resources", "nodes=2 tasks_per_node=1 runtime=60")
    # Without a lag the whole search; with one the generations, which alone overlap.
    promote = {"promote": {"top_k": 0, "baselines": []}} if lag else {}
    said = run(tmp_path, cluster.environment, *standing, search={"lag": lag}, **promote)
    assert said.count("Slurm job ") == 1
    trained = training(tmp_path / "results" / "tiny").collect()
    assert trained.height == 8
    assert set(trained["status"]) == {"ok"}
    if lag == 0:
        assert_same(local, tmp_path / "results" / "tiny")


def test_submitits_local_cluster_needs_no_slurm(local: Path, tmp_path: Path) -> None:
    run(tmp_path, None, "--submitit-cluster", "local", "--set-resources", "train:launcher=local")
    assert_same(local, tmp_path / "results" / "tiny")


def test_candidates_of_two_ranks_are_those_of_one(local: Path, tmp_path: Path, cluster: Cluster) -> None:
    two_ranks = [f"{rule}:{what}" for rule in ("train", "promote") for what in ("tasks_per_node=2", "launcher=srun")]
    teams = {"gpus_per_candidate": 2, "layout": {"dp": 2, "ep": 2, "zero_stage": 1, "micro_batch_size": 1}}
    run(tmp_path, cluster.environment, "--set-resources", *two_ranks, search={"generations": 1}, execution=teams)
    columns = ["architecture_id", "status", "val_bits_per_byte", "steps", "device_seconds", "seconds", "layout"]
    generation = pl.col("generation") == 0
    expected = training(local.parent / "tiny").filter(generation).sort("candidate").select(columns).collect()
    got = training(tmp_path / "results" / "tiny").filter(generation).sort("candidate").select(columns).collect()
    assert got["architecture_id"].to_list() == expected["architecture_id"].to_list()
    assert set(got["status"]) == {"ok"}
    assert got["val_bits_per_byte"].to_list() == pytest.approx(expected["val_bits_per_byte"].to_list(), rel=1e-4)
    layouts = [json.loads(text) for text in got["layout"]]
    assert {layout["dp"] for layout in layouts} == {2}
    experts = ["moe" in text for text in population(tmp_path / "results" / "tiny").filter(generation)
               .sort("candidate").collect()["pattern"]]  # fmt: skip
    assert [layout["ep"] == 2 for layout in layouts] == experts, "who has experts spreads them"
    assert (got["device_seconds"] > 2 * got["seconds"]).all(), "both ranks count"


def test_latency_is_measured_alone_on_a_node(tmp_path: Path, cluster: Cluster) -> None:
    measured = {"source": "measured", "warmup_seconds": 0.05, "repeats": 3, "modes": ["prefill"]}
    one_rank = ("train:launcher=srun", "benchmark_latency:launcher=srun")
    run(
        tmp_path,
        cluster.environment,
        *("--set-resources", *one_rank),
        search={"generations": 1},
        latency={**measured, "objective": "prefill"},
        promote={"top_k": 0, "baselines": []},
    )
    rows = latency(tmp_path / "results" / "tiny").collect()
    assert set(rows["status"]) == {"ok"}
    assert rows["seconds_median"].min() > 0  # type: ignore[operator]


def test_what_another_distribution_adds_runs_there_too(tmp_path: Path, cluster: Cluster) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "{depth: {min: 2, max: 3}, d_model: [32], mutations: [reverse], blocks: "
        "{running_mean: {domains: {width: [16, 32]}}, mlp: {domains: {d_ff: [64, 128]}}}}"
    )
    toys = environment(install(tmp_path / "packages"))
    path = write_config(
        tmp_path,
        search={"generations": 1, "population": 2, "algorithm": {"kind": "hill_climbing"}},
        recipe={"tokens": 512},
        promote={"top_k": 0, "baselines": []},
    )
    text = path.read_text().replace(str(ROOT / "tests/workflow/tiny-space.yaml"), str(space))
    path.write_text(f'{text}evaluators: ["training", "latency", "toy"]\n')
    call = [*command(tmp_path), "--set-resources", "train:launcher=srun", "evaluate_toy:launcher=srun"]
    env = {**cluster.environment, "PYTHONPATH": toys["PYTHONPATH"]}
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env=env, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    trained = training(tmp_path / "results" / "tiny").collect()
    assert trained["status"].to_list() == ["ok"] * 2
    (shard,) = (tmp_path / "results" / "tiny" / "generation=000" / "toy").glob("*.parquet")
    assert pl.read_parquet(shard, hive_partitioning=False)["mixing_share"].to_list() == [0.5] * 2
