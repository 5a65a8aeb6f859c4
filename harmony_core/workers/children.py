"""Forked children of a warm process: started, waited for, ended."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

from harmony_core.errors import UserError
from harmony_core.workers import child
from harmony_core.workers.child import INTERRUPTED, MACHINE_ERROR, USER_ERROR
from harmony_core.workers.task import MACHINE, OUTSIDE, Outcome, Task

# A child's own limit ends it cleanly. It is killed when it has run longer than that by this much.
GRACE_SECONDS = 30.0
EXIT_SECONDS = 10.0
# The death of the forkserver is nobody's fault, but it must not repeat for ever.
_MAX_FORKSERVER_DEATHS = 3
_FORKSERVER_GONE = 255
_DYING_SECONDS = 0.2
_FORKSERVER = "harmony_core.workers.forkserver"
# The kernel, an operator or a limit sends these. A program's own mistakes end it by others (SIGSEGV, SIGABRT, SIGFPE).
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a child is given beside its task.

    Args:
        log: file for everything that it prints.
        threads: CPU threads.
        memory_limit_gb: limit on its data; None sets none.
        environment: variables to set.
    """

    log: Path
    threads: int = 1
    memory_limit_gb: float | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class Child:
    """A running attempt."""

    task: Task
    attempt: int
    process: ForkServerProcess
    answer: Connection
    began: float
    deadline: float
    log: Path

    @property
    def seconds(self) -> float:
        """Wall time since it was started."""
        return time.monotonic() - self.began


class Children:
    """Forks children from one process that has imported `preload`, and tells how each ended.

    Args:
        preload: module that is imported once, before the first fork.
        threads: CPU threads of a child.
    """

    def __init__(self, preload: str, threads: int = 1) -> None:
        self._threads = threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_FORKSERVER, preload])
        self._running: list[Child] = []
        self._forkserver_deaths = 0

    @property
    def running(self) -> tuple[Child, ...]:
        """Those that have not ended, in order of starting."""
        return tuple(self._running)

    def warm_up(self) -> None:
        """Starts the process that imports `preload`; it does so while the first child waits for it."""
        _set_thread_environment(self._threads)
        ensure_running()

    def wait_until_warm(self) -> None:
        """Does the same, and returns when `preload` is imported, so that no child has to wait for it."""
        self.warm_up()
        self._fork(child.nothing).join()

    def start(self, task: Task, attempt: int, setup: Setup) -> Child:
        """Forks a child for one attempt.

        Args:
            task: what the child does.
            attempt: its number, from 1.
            setup: log, threads, memory limit and variables of the child.
        """
        ours, theirs = self._context.Pipe()
        payload = {**task.payload, "attempt": attempt, "forked_at": time.monotonic()}
        given = {**dataclasses.asdict(setup), "log": str(setup.log)}
        process = self._fork(child.main, task.target, payload, given, theirs)
        theirs.close()
        began = time.monotonic()
        deadline = began + task.time_limit_seconds + GRACE_SECONDS
        one = Child(task, attempt, process, ours, began, deadline, setup.log)
        self._running.append(one)
        return one

    def wait(self, timeout: float | None = None, others: Sequence[Any] = ()) -> list[tuple[Child, Outcome]]:
        """Waits until a child answers, dies or passes its deadline, or until one of `others` can be read.

        Raises:
            UserError: a child met what is no candidate's fault.
        """
        limits = [one.deadline - time.monotonic() for one in self._running if one.deadline != float("inf")]
        if timeout is not None:
            limits.append(timeout)
        ready = set(wait([*(one.answer for one in self._running), *others], max(0.0, min(limits)) if limits else None))
        ended = []
        for one in self.running:
            if one.answer in ready:
                ended.append((one, self._collect(one)))
            elif time.monotonic() >= one.deadline:
                self.kill(one)
                ended.append((one, _dead(one, "killed at its time limit", killed=True)))
        return ended

    def kill(self, one: Child) -> None:
        """Ends a child at once; it has no outcome."""
        one.process.kill()
        one.process.join()
        self._forget(one)

    def kill_all(self) -> None:
        """Ends every child at once."""
        for one in self.running:
            self.kill(one)

    def _fork(self, function: Callable[..., None], *arguments: Any) -> ForkServerProcess:
        """Starts a process; where the forkserver dies of it, or while it imports, another one is started."""
        deaths = 0
        while True:
            process = self._context.Process(target=function, args=arguments)
            try:
                process.start()
            except (EOFError, OSError):
                deaths += 1
                if deaths > _MAX_FORKSERVER_DEATHS:
                    raise
                # The forkserver's socket closes a moment before the kernel calls it dead, and another start asks the
                # kernel.
                time.sleep(_DYING_SECONDS)
            else:
                return process

    def _collect(self, one: Child) -> Outcome:
        try:
            answer = json.loads(one.answer.recv_bytes())
        except (EOFError, ConnectionResetError):
            one.process.join()
            self._forget(one)
            return self._died(one)
        # The child has nothing more to say; one that is stuck on its way out may not hold up the shard.
        one.process.join(EXIT_SECONDS)
        self.kill(one)
        if USER_ERROR in answer:
            raise UserError(*answer[USER_ERROR])
        if MACHINE_ERROR in answer:
            return dataclasses.replace(_dead(one, answer[MACHINE_ERROR]), cause=MACHINE)
        if INTERRUPTED in answer:
            return dataclasses.replace(_dead(one, "interrupted"), counts=False)
        return Outcome(one.task, one.attempt, answer, device_seconds=one.seconds)

    def _died(self, one: Child) -> Outcome:
        if one.process.exitcode == _FORKSERVER_GONE and self._forkserver_deaths < _MAX_FORKSERVER_DEATHS:
            self._forkserver_deaths += 1
            return dataclasses.replace(_dead(one, "the worker that forked it died"), counts=False)
        outside = -(one.process.exitcode or 0) in _FROM_OUTSIDE
        return dataclasses.replace(
            _dead(one, describe_exit(one.process.exitcode, one.log)), cause=OUTSIDE if outside else ""
        )

    def _forget(self, one: Child) -> None:
        one.answer.close()
        self._running.remove(one)


def _dead(one: Child, error: str, *, killed: bool = False) -> Outcome:
    return Outcome(one.task, one.attempt, None, error, killed, final=killed, device_seconds=one.seconds)


def describe_exit(exitcode: int | None, log: Path) -> str:
    """Why a child ended without an answer, with the last line that it printed."""
    how = f"killed by signal {-exitcode}" if exitcode is not None and exitcode < 0 else f"exit code {exitcode}"
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{how}: {lines[-1]}" if lines else how


def _set_thread_environment(threads: int) -> None:
    """Set before the forkserver starts: a fork after work on several OpenMP threads hangs."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
