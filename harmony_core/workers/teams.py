"""The teams of an allocation: one srun that starts every rank, watched from the batch process beside the queue."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harmony_core.errors import UserError
from harmony_core.workers.address import ADDRESS_FILE, Address
from harmony_core.workers.pool import PRELOAD
from harmony_core.workers.server import QueueServer, publish

# Starts in a row without any attempt that ended: then something is wrong that another start does not mend.
_FRUITLESS_STARTS = 3
_UNKNOWN_SECONDS = 60.0
_GOODBYE_SECONDS = 20.0


class Teams:
    """Queue and ranks of this process's allocation; a context manager.

    One srun starts all ranks. It goes on when ranks or nodes die, and is started again when it dies
    itself or has no rank left. The queue is here, outside of every rank.

    Args:
        folder: where the queue's address and the ranks' output go; on the shared file system.
        team_size: ranks a task.
        threads: CPU threads of a rank's child.
        beat_seconds: how often a rank gives a sign of life.
        silence_seconds: without one for this long, it is given up.
        srun_flags: what the site needs (`--gpus-per-task=1 --gpu-bind=closest`).
        preload: module that a rank's forkserver imports once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        team_size: int = 1,
        threads: int = 1,
        beat_seconds: float = 5.0,
        silence_seconds: float = 60.0,
        srun_flags: Sequence[str] = (),
        preload: str = PRELOAD,
    ) -> None:
        if "SLURM_JOB_ID" not in os.environ:
            raise UserError("launcher", "srun", "not inside a Slurm job; use --launcher local")
        self._folder, self._flags = folder, tuple(srun_flags)
        self._server = QueueServer(
            team_size=team_size,
            silence_seconds=silence_seconds,
            settings={"preload": preload, "threads": threads, "beat_seconds": beat_seconds},
            seconds_left=seconds_left,
        )
        self._closing = threading.Event()
        self._srun: subprocess.Popen[bytes] | None = None
        self._watcher = threading.Thread(target=self._watch, name="srun", daemon=True)
        self.failed = threading.Event()
        self.address: Address

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.address = self._server.start()
        publish(self.address, self._folder / ADDRESS_FILE)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.stop()
        srun = self._srun
        if srun is not None:
            try:
                srun.wait(_GOODBYE_SECONDS)
            except subprocess.TimeoutExpired:
                # A rank that is stopped, or on a node that is gone, does not hear the goodbye.
                srun.kill()
        self._watcher.join()
        (self._folder / ADDRESS_FILE).unlink(missing_ok=True)

    @property
    def drained(self) -> threading.Event:
        """Set when the allocation's end was announced and nothing runs any more."""
        return self._server.drained

    def wait(self) -> None:
        """Returns when the allocation is to be left, or its ranks cannot be started."""
        while not self.drained.wait(1.0):
            if self.failed.is_set():
                return

    def _watch(self) -> None:
        """Starts srun, and again when it ends although nobody said so."""
        fruitless = 0
        while not self._closing.is_set() and not self._server.drained.is_set():
            before = self._server.finished
            with (self._folder / "ranks.log").open("ab") as log:
                self._srun = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                status = self._srun.wait()
            if self._closing.is_set() or self._server.drained.is_set():
                return
            fruitless = 0 if self._server.finished > before else fruitless + 1
            print(f"srun ended with {status} before the work did", file=sys.stderr, flush=True)
            if fruitless >= _FRUITLESS_STARTS:
                self.failed.set()
                self._server.drain(0.0)
                return
            # Ranks that outlived it hold the places that the next ones need.
            self._server.dismiss("the srun that started it died")

    def _command(self) -> list[str]:
        """One srun over every node that the allocation still has; no death in it is its end."""
        variables = os.environ
        python = variables.get("HARMONY_PYTHON", sys.executable)
        nodes = num_nodes()
        return [
            "srun",
            "--kill-on-bad-exit=0",
            "--wait=0",
            "--no-kill",
            "--overlap",
            "--unbuffered",
            "--label",
            f"--nodes={f'1-{nodes}' if self._server.joined.is_set() else nodes}",
            f"--ntasks-per-node={variables.get('SLURM_NTASKS_PER_NODE', '1')}",
            f"--cpus-per-task={variables.get('SLURM_CPUS_PER_TASK', '1')}",
            "--distribution=block",
            *self._flags,
            python,
            "-u",
            "-m",
            "harmony_core.workers.rank",
            str((self._folder / ADDRESS_FILE).absolute()),
        ]


def num_nodes() -> int:
    """Nodes of this allocation."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))


def seconds_left() -> float:
    """How long this allocation still has, by the controller's own clock."""
    call = ["squeue", "--noheader", "--format=%L", f"--jobs={os.environ['SLURM_JOB_ID']}"]
    with contextlib.suppress(subprocess.SubprocessError, OSError, ValueError):
        answer = subprocess.run(call, capture_output=True, text=True, check=True, timeout=20).stdout
        return parse_time_left(answer.strip())
    return _UNKNOWN_SECONDS


def parse_time_left(text: str) -> float:
    """Seconds of Slurm's `days-hours:minutes:seconds`; ValueError for what is no time."""
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return float(seconds + 86400 * int(days or 0))


def split_flags(text: str) -> tuple[str, ...]:
    """srun's flags as written in a profile; UserError for quotes that do not close."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserError("srun-flags", text, f"{error}; close the quotes") from None
