"""A folder with a Snakefile, and Snakemake processes in it that use a standing allocation."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from tests.waiting import PATIENCE


class PilotWorkflow:
    """A folder with a Snakefile, and Snakemake in it.

    Args:
        root: The folder.
        resources: Of an allocation.
        environment: Where Slurm is; by default, this process's.
    """

    def __init__(
        self, root: Path, resources: str = "cluster=local", environment: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self._resources = resources
        self._environment = environment
        self.mains: list[subprocess.Popen[str]] = []

    def write(self, *rules: str, targets: str) -> None:
        (self.root / "Snakefile").write_text("\n".join([f"rule all:\n    input: {targets}", "localrules: all", *rules]))

    def start(self, *arguments: str, companion: str = "", idle_seconds: float = 60) -> subprocess.Popen[str]:
        command = [
            *(sys.executable, "-m", "snakemake", "--jobs", "20", "--executor", "submitit"),
            *("--submitit-cluster", "pilot", "--submitit-pilot-resources", self._resources),
            *("--submitit-pilot-command", companion, "--submitit-pilot-idle-seconds", str(idle_seconds)),
            *("--seconds-between-status-checks", "1", "--latency-wait", "5", "--rerun-incomplete"),
            *("--submitit-query-seconds", "1", *arguments),
        ]
        main = subprocess.Popen(
            command,
            cwd=self.root,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.mains.append(main)
        return main

    def run(self, *arguments: str, companion: str = "", idle_seconds: float = 60) -> tuple[int, str]:
        main = self.start(*arguments, companion=companion, idle_seconds=idle_seconds)
        output, _ = main.communicate(timeout=PATIENCE)
        return main.returncode, output

    def kill(self, main: subprocess.Popen[str]) -> None:
        """Kill Snakemake as the kernel would, and take its lock away as its user would."""
        main.kill()
        main.wait()
        assert main.stdout is not None
        main.stdout.close()
        subprocess.run([sys.executable, "-m", "snakemake", "--unlock"], cwd=self.root, check=True, capture_output=True)

    def allocations(self) -> list[str]:
        """Ids of those that were submitted."""
        lines = (self.root / ".snakemake/submitit/journal.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines if line]
        return [job_id for record in records if record["event"] == "submitted" for job_id in record["ids"]]

    def close(self) -> None:
        """End what a failed test left, and wait for it."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for main in self.mains:
            main.wait()
            if main.stdout is not None:
                main.stdout.close()

    def states(self) -> list[dict[str, object]]:
        """How jobs and allocations ended."""
        return [json.loads(path.read_text()) for path in (self.root / ".snakemake/submitit/state").glob("*.json")]

    def exists(self, *names: str) -> bool:
        return all((self.root / name).exists() for name in names)

    def processes(self) -> list[psutil.Process]:
        """Whatever runs in this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.root):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


def read_until(main: subprocess.Popen[str], words: str) -> None:
    """Read what Snakemake prints up to a line with these words."""
    assert main.stdout is not None
    while line := main.stdout.readline():
        if words in line:
            return
    pytest.fail(f"it never said: {words}")


def rule(name: str, output: str, shell: str, more: str = "") -> str:
    return f'rule {name}:\n    output: "{output}"\n{more}    shell: r"""{shell}"""\n'
