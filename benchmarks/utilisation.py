"""Busy over allocated team-seconds of a search on a real Slurm cluster, with trainings that sleep; and the simulator's
word on the same search.

Snakemake, executor plugin, queue and ranks are the real ones. Both nodes and Snakemake's own host are this machine, so
the steps that run beside Snakemake sleep as well: on a cluster they would take none of the nodes' time.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write_result
from benchmarks.simulation import Overheads, Usage, allocation_a_shard, standing
from benchmarks.workload import Workload
from tests.slurm.cluster import Cluster
from tests.slurm.packages import SLURM, install

NODES, TASKS_PER_NODE = 2, 8
TEAMS = NODES * TASKS_PER_NODE
WORKLOAD = Workload()
LEAST_BUSY, LARGEST_ERROR = 0.95, 0.03
LIMIT_SECONDS = 900.0
# What `harmony run select` and `harmony run mutate` take here, for 192 candidates of space nano.
SELECT_SECONDS, MUTATE_SECONDS = 1.5, 1.5

SNAKEFILE = """\
GENERATIONS, LAG = {generations}, {lag}
wildcard_constraints:
    g=r"\\d+",
localrules: all, select, mutate
rule all:
    input: expand("selected/{{g}}", g=range(GENERATIONS)),
def parents(wildcards):
    generation = int(wildcards.g)
    previous = [f"bred/{{generation - 1}}"] if generation else []
    return previous + ([f"selected/{{generation - 1 - LAG}}"] if generation > LAG else [])
rule mutate:
    input: parents,
    output: "bred/{{g}}",
    shell: "sleep {mutate_seconds}; touch {{output}}"
rule train:
    input: "bred/{{g}}",
    output: "trained/{{g}}.json",
    resources:
        nodes={nodes},
        tasks_per_node={tasks_per_node},
    shell: "{python} -m benchmarks.stand_in_steps train tasks/{{wildcards.g}}.json {{output}} {{wildcards.g}}"
rule select:
    input: "trained/{{g}}.json", lambda wildcards: [f"selected/{{int(wildcards.g) - 1}}"] if int(wildcards.g) else [],
    output: "selected/{{g}}",
    shell: "sleep {select_seconds}; touch {{output}}"
"""
# In the batch script, around everything: its first instruction and its last.
NOTE_TIMES = """\
date +%s.%N >> times.$SLURM_JOB_ID
trap "date +%s.%N >> times.$SLURM_JOB_ID" EXIT"""


@dataclasses.dataclass(frozen=True)
class Way:
    """How a search holds machines."""

    name: str
    cluster: str
    lag: int


WAYS = (Way("standing_lag_1", "pilot", 1), Way("standing_lag_0", "pilot", 0), Way("allocation_a_shard", "slurm", 0))


@dataclasses.dataclass(frozen=True)
class Measured:
    """When allocations began and ended, and each generation's trainings; seconds of this host's clock."""

    allocations: list[tuple[float, float]]
    trainings: list[list[dict[str, float]]]

    @property
    def usage(self) -> Usage:
        """Busy is what was slept by order; allocated is from first to last instruction, for all teams."""
        busy = sum(one["seconds"] for of_generation in self.trainings for one in of_generation)
        seconds = sum(end - begin for begin, end in self.allocations)
        return Usage(busy, TEAMS * seconds, seconds)

    def overheads(self) -> Overheads:
        """What the simulator has to be told; `chain` means something where no generations overlap."""
        spans = [one for of_generation in self.trainings for one in of_generation]
        inside = [[one for one in spans if begin <= one["began"] <= end] for begin, end in self.allocations]
        held = list(zip(self.allocations, inside, strict=True))
        first = [min(one["began"] for one in of_generation) for of_generation in self.trainings]
        last = [max(one["ended"] for one in of_generation) for of_generation in self.trainings]
        return Overheads(
            start=statistics.mean(min(one["began"] for one in here) - begin for (begin, _), here in held),
            chain=statistics.mean(begin - end for begin, end in zip(first[1:], last[:-1], strict=True)),
            gap=statistics.mean(gap for of_generation in self.trainings for gap in gaps(of_generation)),
            release=statistics.mean(end - max(one["ended"] for one in here) for (_, end), here in held),
        )


def gaps(of_generation: list[dict[str, float]]) -> Iterator[float]:
    """Time between two trainings of one generation in a rank, less what was to be slept: the second one waited."""
    in_order = sorted(of_generation, key=lambda one: (one["rank"], one["began"]))
    for one, following in itertools.pairwise(in_order):
        if one["rank"] == following["rank"]:
            yield following["began"] - one["began"] - one["seconds"]


def write_workflow(folder: Path, way: Way) -> None:
    """The Snakefile, and each generation's durations and expectations."""
    (folder / "Snakefile").write_text(
        SNAKEFILE.format(
            generations=WORKLOAD.generations,
            lag=way.lag,
            nodes=NODES,
            tasks_per_node=TASKS_PER_NODE,
            python=sys.executable,
            mutate_seconds=MUTATE_SECONDS,
            select_seconds=SELECT_SECONDS,
        )
    )
    (folder / "tasks").mkdir()
    for generation in range(WORKLOAD.generations):
        tasks = list(zip(*WORKLOAD.generation(generation), strict=True))
        (folder / "tasks" / f"{generation}.json").write_text(json.dumps(tasks))


def run(cluster: Cluster, way: Way, folder: Path) -> Measured:
    """Runs the search through Snakemake, to its end and that of its allocations."""
    write_workflow(folder, way)
    resources = f"nodes={NODES} tasks_per_node={TASKS_PER_NODE} cpus_per_task=1 mem_mb_per_cpu=100 runtime=30"
    command = [
        *(sys.executable, "-m", "snakemake", "--executor", "submitit", "--jobs", "16", "--quiet"),
        *("--submitit-cluster", way.cluster, "--submitit-setup", NOTE_TIMES),
        *("--default-resources", "cpus_per_task=1", "mem_mb_per_cpu=100", "runtime=30"),
        *("--seconds-between-status-checks", "1", "--scheduler", "greedy", "--max-jobs-per-timespan", "1000/1s"),
    ]
    if way.cluster == "pilot":
        companion = f"{sys.executable} -m benchmarks.stand_in_steps teams"
        command += ["--submitit-pilot-resources", resources, "--submitit-pilot-command", companion]
    environment = {**cluster.environment, "PYTHONPATH": str(ROOT)}
    log = folder / "snakemake.log"
    with log.open("w") as output:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output, timeout=LIMIT_SECONDS, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{log.read_text()[-4000:]}")
    cluster.wait_for_nodes()
    notes = [[float(line) for line in path.read_text().split()] for path in folder.glob("times.*")]
    return Measured(
        sorted((begin, end) for begin, end in notes),
        [json.loads((folder / "trained" / f"{g}.json").read_text()) for g in range(WORKLOAD.generations)],
    )


def compare(measured: dict[str, Measured]) -> dict[str, Any]:
    """Measured shares beside simulated ones; what the simulator knows of lag 1 was measured with lag 0."""
    overheads = {name: one.overheads() for name, one in measured.items()}
    simulated = {
        "standing_lag_1": standing(WORKLOAD, TEAMS, 1, overheads["standing_lag_0"]),
        "standing_lag_0": standing(WORKLOAD, TEAMS, 0, overheads["standing_lag_0"]),
        "allocation_a_shard": allocation_a_shard(WORKLOAD, TEAMS, overheads["allocation_a_shard"]),
    }
    return {
        name: {
            "busy_share": one.usage.share,
            "simulated_busy_share": simulated[name].share,
            "busy_team_seconds": one.usage.busy,
            "allocated_team_seconds": one.usage.allocated,
            "allocations": len(one.allocations),
            "overheads": dataclasses.asdict(overheads[name]),
        }
        for name, one in measured.items()
    }


def main() -> int:
    if reason := install(SLURM):
        print(reason)
        return 1
    cluster = Cluster(nodes=NODES)
    try:
        cluster.start()
        measured = {}
        for way in WAYS:
            with tempfile.TemporaryDirectory() as scratch:
                measured[way.name] = run(cluster, way, Path(scratch))
    finally:
        cluster.stop()
    ways = compare(measured)
    write_result("utilisation", {"promise": {"busy": LEAST_BUSY, "error": LARGEST_ERROR}, "ways": ways})
    for name, one in ways.items():
        print(f"{name}: {one['busy_share']:.1%} busy, the simulator says {one['simulated_busy_share']:.1%}")
    error = max(abs(one["busy_share"] - one["simulated_busy_share"]) for one in ways.values())
    return 0 if ways["standing_lag_1"]["busy_share"] >= LEAST_BUSY and error <= LARGEST_ERROR else 1


if __name__ == "__main__":
    sys.exit(main())
