"""The teams of an allocation: one srun that starts every rank, watched from the batch process beside the queue."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from harmony_core.errors import UserError
from harmony_core.slurm.job import nodes_left, num_nodes, seconds_left, seconds_used
from harmony_core.workers.address import ADDRESS_FILE, Address, allocation_addresses, publish
from harmony_core.workers.exchange import PROBE
from harmony_core.workers.pool import PRELOAD
from harmony_core.workers.server import QueueServer

# After so many starts in a row without any attempt that ended, something is wrong that another start does not mend.
_FRUITLESS_STARTS = 3
_LOOK_SECONDS = 0.5
# Every rank reads Python and its packages from a shared file system, all at once.
_START_SECONDS = 600.0
# With the queue's goodbye this is less than the 20 s that the executor plugin waits before it kills.
_GOODBYE_SECONDS = 8.0
_TERMINATION_SECONDS = 4.0


class Teams:
    """Queue and ranks of this process's allocation; a context manager.

    One srun starts all ranks. It goes on when ranks or nodes die, and is started again when it dies
    itself, has no rank left, or too few for a team. The queue is here, outside of every rank.

    Args:
        folder: where the queue's address and the ranks' output go; on the shared file system.
        team_size: ranks a task.
        threads: CPU threads of a rank's child.
        beat_seconds: how often a rank gives a sign of life.
        silence_seconds: without one for this long, it is given up.
        srun_flags: what the site needs (`--gpus-per-task=1 --gpu-bind=closest`).
        preload: module that a rank's forkserver imports once.
        probe: the known small task that tells whether a node is healthy.
        log: what srun and the ranks print; None is a file in `folder`.
        sharers: ranks on each GPU: a task of srun is so many.
    """

    # Whether this process had teams in its allocation before.
    _others_were: ClassVar[bool] = False

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
        probe: str = PROBE,
        log: Path | None = None,
        sharers: int = 1,
    ) -> None:
        if "SLURM_JOB_ID" not in os.environ:
            raise UserError("launcher", "srun", "not inside a Slurm job; use --launcher local")
        self._folder, self._flags = folder, tuple(srun_flags)
        self._server = QueueServer(
            team_size=team_size,
            silence_seconds=silence_seconds,
            settings={"preload": preload, "threads": threads, "beat_seconds": beat_seconds, "sharers": sharers},
            seconds_left=seconds_left,
            seconds_held=self._seconds_held,
            step=self._step,
            hosts=allocation_addresses(num_nodes(), os.environ.get("SLURMD_NODENAME", "")),
            probe=probe,
        )
        self._silence = silence_seconds
        # What the allocation had lasted before, staging most of all. It belongs to the first teams of a process alone:
        # when others follow, the time between was their predecessors'.
        self._began, self._held_before = time.monotonic(), 0.0 if Teams._others_were else seconds_used()
        Teams._others_were = True
        self.log = log or folder / "ranks.log"
        self._closing = threading.Event()
        # Whoever starts srun or speaks to the queue holds it, so that neither happens after the end.
        self._lock = threading.Lock()
        self._srun: subprocess.Popen[bytes] | None = None
        self._watcher = threading.Thread(target=self._watch, name="srun", daemon=True)
        self.failed = threading.Event()
        self.failure = ""
        self.address: Address

    def __enter__(self) -> Self:
        for folder in (self._folder, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.address = self._server.start()
        try:
            publish(self.address, self._folder / ADDRESS_FILE)
        except BaseException:
            self._server.stop()
            raise
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closing.set()
        # Ranks that are still starting do not hear the goodbye.
        patience = _GOODBYE_SECONDS if self._server.num_ranks else 0.0
        self._server.stop()
        if self._srun is not None:
            _end(self._srun, patience)
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
        why = ""
        while fruitless < _FRUITLESS_STARTS:
            before = self._server.finished
            try:
                srun = self._start()
            except OSError as error:
                return self._fail(f"srun does not start: {error}")
            if srun is None:
                return None
            why = self._stay_with(srun)
            fruitless = 0 if self._server.finished > before else fruitless + 1
            with self._lock:
                if self._is_over():
                    return None
                # Ranks that outlived srun hold the places that the next ones need.
                self._server.dismiss(why)
            print(f"{why}, before the work did", file=sys.stderr, flush=True)
            _end(srun, _GOODBYE_SECONDS)
        return self._fail(f"no attempt ended in {_FRUITLESS_STARTS} starts of srun; at last, {why}")

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Starts srun; None where it is all over."""
        # This comes before the lock, which whoever leaves needs: Slurm may take long to say which nodes are left.
        command = self._command()
        with self._lock, self.log.open("ab") as log:
            if self._is_over():
                return None
            self._srun = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            return self._srun

    def _stay_with(self, srun: subprocess.Popen[bytes]) -> str:
        """Waits until srun ends or is of no use any more; returns which."""
        joined = self._server.num_joined
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return f"srun ended with {srun.wait(_LOOK_SECONDS)}"
            limit = _START_SECONDS if self._server.num_joined == joined else self._silence
            if self._server.stranded_seconds > limit and not self._is_over():
                return "the ranks that are left make no team"

    def _fail(self, failure: str) -> None:
        print(f"{failure}; see {self.log}", file=sys.stderr, flush=True)
        self.failure = failure
        # This is set before the feeders hear that nothing more begins, since they ask why.
        self.failed.set()
        with self._lock:
            if not self._is_over():
                self._server.drain(0.0)

    def _seconds_held(self) -> float:
        """How long the allocation's devices have been held for these teams."""
        return self._held_before + time.monotonic() - self._began

    def _step(self) -> Callable[[], bool]:
        """A way to tell whether the srun of now, which may soon be followed by another one, still lives."""
        srun = self._srun
        return lambda: srun is not None and srun.poll() is None

    def _is_over(self) -> bool:
        return self._closing.is_set() or self._server.drained.is_set()

    def _command(self) -> list[str]:
        """One srun over every node that the allocation still has; no death in it is its end."""
        variables = os.environ
        python = variables.get("HARMONY_PYTHON", sys.executable)
        # If srun were asked for more than the nodes that are left hold, as by SLURM_NTASKS, it would wait without end.
        nodes = num_nodes() if self._srun is None else nodes_left()
        a_node = int(variables.get("SLURM_NTASKS_PER_NODE", "1"))
        return [
            "srun",
            "--kill-on-bad-exit=0",
            "--wait=0",
            "--no-kill",
            "--overlap",
            "--unbuffered",
            "--label",
            f"--nodes={nodes}",
            f"--ntasks={nodes * a_node}",
            f"--ntasks-per-node={a_node}",
            f"--cpus-per-task={variables.get('SLURM_CPUS_PER_TASK', '1')}",
            "--distribution=block",
            *self._flags,
            python,
            "-u",
            "-m",
            "harmony_core.workers",
            str((self._folder / ADDRESS_FILE).absolute()),
        ]


def _end(srun: subprocess.Popen[bytes], patience: float) -> None:
    """Waits until srun has left with its ranks; then has them killed, and then kills it."""
    for seconds, help_along in ((patience, srun.terminate), (_TERMINATION_SECONDS, srun.kill)):
        try:
            srun.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            # A rank that is stopped, or whose node is gone, does not hear the goodbye.
            help_along()
    srun.wait()


def split_flags(text: str) -> tuple[str, ...]:
    """srun's flags as written in a profile; UserError for quotes that do not close."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserError("srun-flags", text, f"{error}; close the quotes") from None
