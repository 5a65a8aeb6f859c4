"""Warm workers on this machine: one process imports torch and DeepSpeed once and forks a child for each candidate."""

from __future__ import annotations

import dataclasses
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from harmony_core.host import usable_cores, usable_memory_bytes, visible_gpus
from harmony_core.workers.children import Child, Children, Setup
from harmony_core.workers.gpus import own_gpu
from harmony_core.workers.task import Outcome, Task

# Of which torch takes 0.4. With less gloo has no room for its threads, and waits for them until the time limit.
LEAST_MEMORY_GB = 0.5

PRELOAD = "harmony_core.evaluation.preload"


class WarmPool:
    """Runs tasks in forked children, as many at once as there are slots, longest expected first.

    Args:
        log_folder: where each child's output goes, one file a task.
        workers: children at once; None is one a GPU, or as many as `cores` hold where there is no GPU.
        cores: cores that the children may use together; None is all that this process may.
        threads: CPU threads of a child.
        attempts: how often a task that dies is begun, over all runs, before its death is final.
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
        self._workers = workers or len(visible_gpus()) or max(1, (cores or usable_cores()) // threads)
        self._threads, self._attempts = threads, attempts
        self._log_folder = log_folder
        self._memory_limit_gb = memory_limit_gb if memory_limit_gb is not None else even_share_gb(self._workers)
        self._children = Children(preload, threads)
        self._slots: dict[Child, int] = {}

    @property
    def workers(self) -> int:
        """Children at once."""
        return self._workers

    def run(
        self,
        tasks: Iterable[Task],
        on_outcome: Callable[[Outcome], None],
        on_begin: Callable[[Task, int], None] = lambda task, attempt: None,
    ) -> None:
        """Runs every task to a final outcome (`Pool.run`).

        Children are killed when this ends by an exception, KeyboardInterrupt included; so it does with a
        UserError of a child, which is no candidate's fault: a damaged file, a full disk.
        """
        order = sorted(tasks, key=lambda task: (-task.expected_seconds, task.key))
        waiting = deque((task, task.attempts_before + 1) for task in order)
        if not waiting:
            return
        self._children.warm_up()
        free = list(range(self._workers))
        try:
            while waiting or self._slots:
                while waiting and free:
                    task, attempt = waiting.popleft()
                    self._start(task, attempt, heapq.heappop(free))
                    on_begin(task, attempt)
                for child, ended in self._children.wait():
                    heapq.heappush(free, self._slots.pop(child))
                    outcome = judged(ended, self._attempts)
                    if not outcome.final:
                        waiting.append((outcome.task, outcome.attempt + outcome.counts))
                    on_outcome(outcome)
        finally:
            self._children.kill_all()
            self._slots.clear()

    def _start(self, task: Task, attempt: int, slot: int) -> None:
        setup = Setup(
            log=self._log_folder / f"{task.key}.log",
            threads=self._threads,
            memory_limit_gb=self._memory_limit_gb,
            environment={**own_gpu(slot), "LOCAL_RANK": "0"},
        )
        self._slots[self._children.start(task, attempt, setup)] = slot


def judged(outcome: Outcome, attempts: int) -> Outcome:
    """The outcome with whether it is final: an answer, a limit passed, or as many deaths as are allowed."""
    if outcome.result is not None or not outcome.counts:
        return outcome
    return dataclasses.replace(outcome, final=outcome.final or outcome.attempt >= attempts)


def even_share_gb(workers: int) -> float | None:
    """What a child may use where as many share this machine's memory, or a job's; no limit beside GPUs.

    A child that asks for too much is then told so, instead of killed by the kernel with no reason given.
    """
    return None if visible_gpus() else max(LEAST_MEMORY_GB, usable_memory_bytes() / workers / 1e9)
