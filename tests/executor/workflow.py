"""A workflow in a folder of its own, and Snakemake processes that run it with the executor plugin."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.waiting import PATIENCE, wait_until


class Workflow:
    """Its main processes and all that they start carry a mark in their environment.

    Args:
        root: The workflow's folder, which is made; what Snakemake says goes beside it.
        cluster: What `--submitit-cluster` is to be.
        environment: Variables over this process's.
    """

    def __init__(self, root: Path, cluster: str, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.cluster = cluster
        self.mark = uuid.uuid4().hex
        self.environment = {**os.environ, **(environment or {}), "WORKFLOW_MARK": self.mark}
        self.flags: tuple[str, ...] = ("--rerun-incomplete",)
        """Of all Snakemake processes."""
        self._mains: dict[subprocess.Popen[bytes], Path] = {}
        root.mkdir()

    def write(self, *rules: str, targets: str) -> None:
        """Write the Snakefile; `targets` are the inputs of its first rule."""
        first = f"rule all:\n    input: {targets}\n"
        (self.root / "Snakefile").write_text("\n".join([first, "localrules: all\n", *rules]))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Snakemake, in a process group of its own."""
        command = [
            *(sys.executable, "-m", "snakemake", "--executor", "submitit", "--submitit-cluster", self.cluster),
            *("--jobs", "100", "--seconds-between-status-checks", "1", "--submitit-query-seconds", "1"),
            *("--latency-wait", "3", *self.flags, *arguments),
        ]
        log = self.root.parent / f"snakemake-{len(self._mains)}.log"
        with log.open("wb") as file:
            main = subprocess.Popen(
                command, cwd=self.root, env=self.environment, stdout=file, stderr=file, process_group=0
            )
        self._mains[main] = log
        return main

    def said(self, main: subprocess.Popen[bytes]) -> str:
        """What a Snakemake process has said so far."""
        return self._mains[main].read_text()

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run Snakemake; returns its exit code and what it said."""
        return self.wait(self.start(*arguments))

    def wait(self, main: subprocess.Popen[bytes]) -> tuple[int, str]:
        """Wait for the end of a Snakemake process; returns its exit code and what it said."""
        return main.wait(PATIENCE), self.said(main)

    def kill(self, main: subprocess.Popen[bytes]) -> None:
        """Kill Snakemake as the kernel would, and take its lock away as its user would."""
        main.kill()
        main.wait()
        subprocess.run(
            [sys.executable, "-m", "snakemake", "--unlock"],
            cwd=self.root,
            env=self.environment,
            check=True,
            capture_output=True,
        )

    def journal(self, event: str) -> list[dict[str, Any]]:
        """Records of the executor's journal."""
        path = self.root / ".snakemake" / "submitit" / "journal.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        records = [json.loads(line) for line in lines if line]
        return [record for record in records if record["event"] == event]

    def attempts(self) -> int:
        """How many attempts were handed to the cluster."""
        return sum(len(record["works"]) for record in self.journal("works"))

    def processes(self) -> list[psutil.Process]:
        """What lives of all that was started here."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("WORKFLOW_MARK") == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue  # ended meanwhile, or not ours to look into
        return found

    def wait_for_files(self, *names: str) -> None:
        """Wait until files exist in the workflow's folder."""
        wait_until(lambda: all((self.root / name).exists() for name in names))

    def read(self, name: str) -> str:
        """Content of a file of the workflow's folder, without white space around it."""
        return (self.root / name).read_text().strip()

    def stop(self) -> None:
        """End whatever is left."""
        for main in self._mains:
            main.kill()
            main.wait()
        for process in self.processes():
            # What its killed parent had begun to end may be gone by now.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
