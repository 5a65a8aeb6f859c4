"""Slurm's commands, on one cluster: asking, submitting, and waiting with a limit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.waiting import PATIENCE, wait_until


class Client:
    """Runs commands with `environment`, which is this process's with the cluster's SLURM_CONF."""

    def __init__(self, configuration: Path) -> None:
        """Takes the path of the cluster's slurm.conf; the output of jobs goes beside it."""
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        self.environment["SLURM_CONF"] = str(configuration)
        self._logs = configuration.parent / "job-%j.log"

    def run(self, *command: str) -> str:
        """Runs a command on the cluster, and returns what it printed.

        Raises:
            AssertionError: It failed; the message has what it said.
        """
        done = self.try_run(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def try_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on the cluster that may fail; a stranger's job may have a name that is not UTF-8."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=self.environment,
            timeout=PATIENCE,
            check=False,
        )

    def submit(self, script: str, *options: str) -> str:
        """Submits a shell script with sbatch's options, and returns the job's id."""
        return self.run("sbatch", "--parsable", f"--output={self._logs}", *options, f"--wrap={script}").strip()

    def job_states(self, job: str) -> list[str]:
        """Slurm's states of a job, also of an ended one: one a member of an array, in the members' order."""
        lines = self.run("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%K %T")
        members = (line.split() for line in lines.splitlines())
        return [state for _, state in sorted((int(index) if index.isdigit() else 0, state) for index, state in members)]

    def wait_for_job(self, job: str, state: str) -> None:
        """Waits until a job, or every member of an array, is in `state` (PENDING, RUNNING, COMPLETED, ...)."""
        wait_until(lambda: set(self.job_states(job)) == {state}, f"job {job} to be {state}")

    def node_state(self, name: str) -> str:
        """Slurm's state of a node, such as `idle`, `mixed`, `down` or, where it does not answer, `down*`."""
        return self.run("sinfo", "--noheader", "--partition=main", f"--nodes={name}", "--format=%T").strip()

    def wait_for_node(self, name: str, state: str) -> None:
        """Waits until a node is in `state`, whether it answers or not."""
        wait_until(lambda: self.node_state(name).rstrip("*") == state, f"node {name} to be {state}")
