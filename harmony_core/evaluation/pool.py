"""Warm workers: one process imports torch and DeepSpeed once and forks a child for each candidate."""

from __future__ import annotations

import dataclasses
import heapq
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import psutil

from harmony_core.errors import UserError
from harmony_core.evaluation import child
from harmony_core.evaluation.child import USER_ERROR
from harmony_core.evaluation.setting import Setting
from harmony_core.machines.host import usable_cores, visible_gpus

PRELOAD = "harmony_core.evaluation.preload"
# A child's own limit ends it cleanly; past this much more it is killed.
GRACE_SECONDS = 30.0
EXIT_SECONDS = 10.0
# The forkserver's death is nobody's fault, but must not repeat for ever.
_MAX_FORKSERVER_DEATHS = 3
_FORKSERVER_GONE = 255


@dataclasses.dataclass(frozen=True)
class Task:
    """One candidate's work: a function by name, its JSON-able payload, and how often it was begun before."""

    key: str
    target: str
    payload: dict[str, Any]
    expected_cost: float = 0.0
    time_limit_seconds: float = float("inf")
    attempts_before: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one attempt ended.

    Args:
        task: whose attempt.
        attempt: its number, from 1.
        result: the answer; None for a child that died.
        error: why it died.
        killed: whether its time limit ended it.
        final: whether the task is over; else it is begun again.
        counts: whether the attempt counts against the task; the forkserver's death is nobody's fault.
    """

    task: Task
    attempt: int
    result: dict[str, Any] | None
    error: str | None = None
    killed: bool = False
    final: bool = True
    counts: bool = True


@dataclasses.dataclass
class _Running:
    task: Task
    attempt: int
    process: ForkServerProcess
    answer: Connection
    deadline: float
    slot: int
    log: Path


class WarmPool:
    """Runs tasks in forked children, as many at once as there are slots, longest expected first.

    Args:
        workers: children at once; None is one a GPU, or as many as `cores` hold where there is no GPU.
        cores: cores that the children may use together; None is all that this process may.
        threads: CPU threads of a child.
        attempts: how often a task that dies is begun, over all runs, before its death is final.
        log_folder: where each child's output goes, one file a task.
        memory_limit_gb: a child's limit on its data; None is an even share of this machine's memory, and no
            limit where there are GPUs, whose drivers map more than they use.
        preload: module that is imported once, before the first fork.
    """

    def __init__(
        self,
        log_folder: Path,
        *,
        workers: int | None = None,
        cores: int | None = None,
        threads: int = 1,
        attempts: int = 2,
        memory_limit_gb: float | None = None,
        preload: str = PRELOAD,
    ) -> None:
        self._gpus = visible_gpus()
        self._workers = workers or len(self._gpus) or max(1, (cores or usable_cores()) // threads)
        self._threads, self._attempts = threads, attempts
        self._log_folder = log_folder
        if memory_limit_gb is None and not self._gpus:
            # A child that asks for too much is then told so, instead of killed by the kernel with no reason given.
            memory_limit_gb = psutil.virtual_memory().total / self._workers / 1e9
        self._memory_limit_gb = memory_limit_gb
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([preload])
        self._running: dict[str, _Running] = {}
        self._forkserver_deaths = 0

    @property
    def workers(self) -> int:
        """Children at once."""
        return self._workers

    def run(self, tasks: Iterable[Task], on_outcome: Callable[[Outcome], None]) -> None:
        """Runs every task to a final outcome; `on_outcome` hears of each attempt's end, in order of ending.

        Children are killed when this ends by an exception, KeyboardInterrupt included; so it does with a
        UserError of a child, which is no candidate's fault: a damaged file, a full disk.
        """
        order = sorted(tasks, key=lambda task: (-task.expected_cost, task.key))
        waiting = deque((task, task.attempts_before + 1) for task in order)
        if not waiting:
            return
        _set_thread_environment(self._threads)
        ensure_running()
        slots = list(range(self._workers))
        try:
            while waiting or self._running:
                while waiting and slots:
                    self._start(*waiting.popleft(), heapq.heappop(slots))
                for outcome, slot in self._next_outcomes():
                    heapq.heappush(slots, slot)
                    if not outcome.final:
                        waiting.append((outcome.task, outcome.attempt + outcome.counts))
                    on_outcome(outcome)
        finally:
            self._kill_all()

    def _start(self, task: Task, attempt: int, slot: int) -> None:
        ours, theirs = self._context.Pipe()
        log = self._log_folder / f"{task.key}.log"
        gpu = {"CUDA_VISIBLE_DEVICES": self._gpus[slot % len(self._gpus)]} if self._gpus else {}
        setup = {
            "log": str(log),
            "threads": self._threads,
            "memory_limit_gb": self._memory_limit_gb,
            "environment": {**gpu, "LOCAL_RANK": "0"},
        }
        payload = {**task.payload, "attempt": attempt, "forked_at": time.monotonic()}
        process = self._context.Process(target=child.main, args=(task.target, payload, setup, theirs))
        process.start()
        theirs.close()
        deadline = time.monotonic() + task.time_limit_seconds + GRACE_SECONDS
        self._running[task.key] = _Running(task, attempt, process, ours, deadline, slot, log)

    def _next_outcomes(self) -> list[tuple[Outcome, int]]:
        """Waits until a child answers, dies or passes its deadline."""
        nearest = min(running.deadline for running in self._running.values())
        timeout = None if nearest == float("inf") else max(0.0, nearest - time.monotonic())
        ready = set(wait([running.answer for running in self._running.values()], timeout))
        ended = []
        for running in list(self._running.values()):
            if running.answer in ready:
                ended.append((self._collect(running), running.slot))
            elif time.monotonic() >= running.deadline:
                running.process.kill()
                running.process.join()
                ended.append((self._dead(running, "killed at its time limit", killed=True), running.slot))
        return ended

    def _collect(self, running: _Running) -> Outcome:
        try:
            answer = json.loads(running.answer.recv_bytes())
        except (EOFError, ConnectionResetError):
            running.process.join()
            return self._dead(running, describe_exit(running.process.exitcode, running.log))
        # It has nothing more to say; a child that is stuck on its way out may not hold up the shard.
        running.process.join(EXIT_SECONDS)
        running.process.kill()
        running.process.join()
        self._forget(running)
        if USER_ERROR in answer:
            raise UserError(*answer[USER_ERROR])
        return Outcome(running.task, running.attempt, answer)

    def _dead(self, running: _Running, error: str, *, killed: bool = False) -> Outcome:
        self._forget(running)
        final, counts = killed or running.attempt >= self._attempts, True
        if running.process.exitcode == _FORKSERVER_GONE and self._forkserver_deaths < _MAX_FORKSERVER_DEATHS:
            self._forkserver_deaths += 1
            error, final, counts = "the worker that forked it died", False, False
        return Outcome(running.task, running.attempt, None, error, killed, final, counts)

    def _forget(self, running: _Running) -> None:
        running.answer.close()
        del self._running[running.task.key]

    def _kill_all(self) -> None:
        for running in list(self._running.values()):
            running.process.kill()
            running.process.join()
            self._forget(running)


def make_pool(
    setting: Setting, work: Path, *, cores: int | None = None, workers: int | None = None, preload: str = PRELOAD
) -> WarmPool:
    """A pool as a search's execution section has it, with its logs under `work`."""
    execution = setting.config.execution
    return WarmPool(
        work / "logs",
        workers=workers or execution.workers,
        cores=cores,
        threads=execution.threads_per_candidate,
        attempts=execution.attempts,
        memory_limit_gb=execution.memory_limit_gb,
        preload=preload,
    )


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
    if not visible_gpus():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
