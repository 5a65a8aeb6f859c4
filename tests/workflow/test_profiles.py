"""Profiles work as they are written, in a fresh clone, without an account and without Slurm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NAMES = ("local", "slurm", "frontier")
CONFIGS = {"slurm": "config/nano.yaml", "frontier": "config/frontier.yaml", "local": "config/nano.yaml"}
RULES = {"train", "benchmark_latency", "promote", "isoflop"}


def plan(folder: Path, profile: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    private = ("SBATCH_ACCOUNT", "SLURM_CONF", "PYTHONPATH", "SNAKEMAKE_PROFILE")
    environment = {name: value for name, value in os.environ.items() if name not in private}
    # With -m the clone's own packages come first, and not those that this environment has installed.
    call = [sys.executable, "-m", "snakemake", "--profile", profile, "-n", *arguments]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_clone_plans_with_the_profile(clone: Path, name: str) -> None:
    done = plan(clone, name, "--configfile", CONFIGS[name])
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(line.split() for line in (done.stdout + done.stderr).splitlines() if len(line.split()) == 2)
    config = yaml.safe_load((clone / CONFIGS[name]).read_text())
    shards = -(-config["search"]["population"] // config.get("execution", {}).get("candidates_per_job", 16))
    assert counts["train"] == str(config["search"]["generations"] * shards)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_a_link_in_the_root(clone: Path, name: str) -> None:
    assert os.readlink(clone / name) == f"profiles/{name}"


@pytest.mark.parametrize("name", ["slurm", "frontier"])
def test_each_heavy_rule_says_what_it_needs(name: str) -> None:
    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    assert set(profile["set-resources"]) == RULES
    assert {resources["launcher"] for resources in profile["set-resources"].values()} == {"srun"}
    assert profile["executor"] == "submitit"
    assert (profile["rerun-triggers"], profile["rerun-incomplete"], profile["keep-going"]) == (["mtime"], True, True)


def test_an_allocation_a_shard_on_frontier_is_two_options(clone: Path) -> None:
    done = plan(clone, "frontier", "--configfile", "config/frontier.yaml", "--submitit-cluster", "slurm", "--jobs", "4")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["slurm", "frontier"])
def test_what_a_profile_asks_for_reaches_its_rules(clone: Path, name: str) -> None:
    """The keys of profiles that people have copied: rules keep their names, and each job what its key asks for."""
    asked = {
        "slurm": {"train": "tasks_per_node=4", "benchmark_latency": "tasks_per_node=1", "promote": "tasks_per_node=4"},
        "frontier": {"train": "nodes=8", "benchmark_latency": "nodes=1", "promote": "nodes=1"},
    }[name]
    # Measured, or benchmark_latency would run where Snakemake does.
    done = plan(clone, name, "--configfile", CONFIGS[name], "--config", "latency={source: measured}", "--quiet", "host")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = [job.splitlines() for job in (done.stdout + done.stderr).split("\nrule ")]
    for rule, resource in asked.items():
        of_rule = [lines for lines in jobs if lines[0] == f"{rule}:"]
        assert of_rule, rule
        told = [line for lines in of_rule for line in lines if line.strip().startswith("resources:")]
        assert len(told) == len(of_rule)
        assert all("launcher=srun" in line and resource in line for line in told), told
    assert {"prepare_data:", "settle:", "mutate:", "select:", "report:"} < {lines[0] for lines in jobs}
