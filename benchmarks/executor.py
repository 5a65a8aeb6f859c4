"""Trivial jobs a second through our Snakemake executor and through the official one for Slurm, on one cluster."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write_result
from tests.slurm.cluster import Cluster
from tests.slurm.daemon import find
from tests.slurm.packages import ACCOUNTING, SLURM, install

JOBS, LIMIT_SECONDS = 200, 60.0
LEAST_RATIO, MOST_SUBMISSIONS = 10.0, 2
OFFICIAL_VERSION = "2.8.0"
# Each job books one CPU: as many run at once as two cores can carry Python processes, for both executors.
NODES, CPUS = 2, 4

WORKFLOW = """\
rule all:
    input: expand("out/{{index}}", index=range({jobs}))
rule touch:
    output: "out/{{index}}"
    shell: "touch {{output}}"
"""
# The same for both: everything is handed over in one go, and asked about as often as Snakemake allows.
COMMON = [
    *("--scheduler", "greedy", "--max-jobs-per-timespan", "100000/1s", "--seconds-between-status-checks", "1"),
    *("--default-resources", "slurm_partition=main", "runtime=30", "mem_mb=100", "cpus_per_task=1"),
    "--show-failed-logs",
]
OURS = ["--executor", "submitit"]
# Without an account to check it calls sacctmgr for none of its jobs; Slurm takes the user's own.
OFFICIAL = ["--executor", "slurm", "--slurm-init-seconds-before-status-checks", "1", "--slurm-no-account"]
OFFICIAL_ARRAYS = [*OFFICIAL, "--slurm-array-jobs", "all"]

CLIENTS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "sshare")


@dataclass(frozen=True)
class Run:
    """One run of the workflow."""

    executor: str
    options: str
    jobs_done: int
    seconds: float
    jobs_per_second: float
    calls: dict[str, int]
    """How often each of Slurm's commands was called, in the jobs too."""


def official_python() -> Path:
    """Python of an environment with the official executor and the Snakemake that runs ours."""
    folder = ROOT / "build" / "official-slurm-plugin"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    wanted = [f"snakemake=={version('snakemake')}", f"snakemake-executor-plugin-slurm=={OFFICIAL_VERSION}"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def write_counting_clients(folder: Path, cluster: Cluster) -> Path:
    """Writes Slurm's commands, each of which notes its call and then runs; returns the file of notes.

    They also know the cluster: the official executor takes SLURM_CONF out of its jobs' environment.
    """
    notes = folder / "calls"
    configuration = cluster.environment["SLURM_CONF"]
    for name in CLIENTS:
        client = folder / name
        client.write_text(f'#!/bin/sh\necho {name} >> {notes}\nSLURM_CONF={configuration} exec {find(name)} "$@"\n')
        client.chmod(0o755)
    return notes


def run(cluster: Cluster, python: Path, options: list[str], jobs: int, limit: float) -> Run:
    """Runs the workflow in a folder of its own until it ends, or until the limit."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, clients = Path(scratch) / "workflow", Path(scratch) / "clients"
        folder.mkdir()
        clients.mkdir()
        calls = write_counting_clients(clients, cluster)
        (folder / "Snakefile").write_text(WORKFLOW.format(jobs=jobs))
        environment = {**cluster.environment, "PATH": f"{clients}:{python.parent}:{cluster.environment['PATH']}"}
        command = [str(python), "-m", "snakemake", "--jobs", str(jobs), *COMMON, *options]
        log = folder / "snakemake.log"
        start = time.monotonic()
        with log.open("w") as output:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
            try:
                status = wait(process, limit)
                seconds = time.monotonic() - start
                done = len(list(folder.glob("out/*")))
            finally:
                stop(process)
                # Jobs that were cut off work in the folder that is removed next.
                cluster.restore()
        if status or (status == 0 and done < jobs):
            raise RuntimeError(f"{' '.join(command)} ended with {status}:\n{log.read_text()[-4000:]}")
        counts = Counter(calls.read_text().split())
    return Run(options[1], " ".join(options), done, seconds, done / seconds, dict(sorted(counts.items())))


def wait(process: subprocess.Popen[bytes], limit: float) -> int | None:
    """Waits for the end, and returns None where the limit comes first."""
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a Snakemake that is still running, as Ctrl-C does."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        if wait(process, 60.0) is None:
            process.kill()
            process.wait()


def measure(jobs: int, limit: float) -> dict[str, Any]:
    """Runs both executors in turn on one cluster."""
    ours, official = Path(sys.executable), official_python()
    runs = []
    cluster = Cluster(nodes=NODES, cpus=CPUS, accounting=True)
    try:
        cluster.start()
        slurm = cluster.run("sbatch", "--version").strip()
        for options in (OURS, OFFICIAL, OURS, OFFICIAL_ARRAYS, OURS):
            runs.append(run(cluster, ours if options is OURS else official, options, jobs, limit))
            last = runs[-1]
            print(f"{last.jobs_done} jobs in {last.seconds:.1f} s, {last.calls.get('sbatch')} sbatch: {last.options}")
    finally:
        cluster.stop()
    mine = [one for one in runs if one.executor == "submitit"]
    theirs = [one for one in runs if one.executor == "slurm"]
    return {
        "jobs": jobs,
        "limit_seconds_a_run": limit,
        "cluster": {"slurm": slurm, "nodes": NODES, "cpus_a_node": CPUS},
        "official": {"snakemake": version("snakemake"), "snakemake-executor-plugin-slurm": OFFICIAL_VERSION},
        "runs": [asdict(one) for one in runs],
        # The median of ours over the better of theirs.
        "ratio": statistics.median(one.jobs_per_second for one in mine) / max(one.jobs_per_second for one in theirs),
        "submissions": max(one.calls["sbatch"] for one in mine),
        "promise": {"ratio": LEAST_RATIO, "submissions": MOST_SUBMISSIONS},
    }


def main() -> int:
    if reason := install(SLURM | ACCOUNTING):
        print(reason, file=sys.stderr)
        return 2
    figures = measure(JOBS, LIMIT_SECONDS)
    write_result("executor", figures)
    ratio, submissions = figures["ratio"], figures["submissions"]
    print(f"{ratio:.1f}x the jobs a second of the official executor, {submissions} submissions at most")
    return 0 if ratio >= LEAST_RATIO and submissions <= MOST_SUBMISSIONS else 1


if __name__ == "__main__":
    sys.exit(main())
