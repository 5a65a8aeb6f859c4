"""Warm workers on this machine: one process imports torch once and forks a child for each candidate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from harmony_core.host import host_name, usable_cores, usable_memory_bytes, visible_gpus
from harmony_core.workers.attempts import Assignment, Ended
from harmony_core.workers.children import Child, Children, Setup
from harmony_core.workers.exchange import job_of, no_node_left, outcome_of, probe_task, report_of
from harmony_core.workers.formation import Rank
from harmony_core.workers.gpus import own_gpu
from harmony_core.workers.mps import mps
from harmony_core.workers.task import Outcome, Task
from harmony_core.workers.task_queue import TaskQueue

# torch takes 0.4 of it. With less, gloo has no room for its threads and waits for them until the time limit.
LEAST_MEMORY_GB = 0.5

PRELOAD = "harmony_core.evaluation.preload"
# Where candidates are spread over ranks: DeepSpeed takes as long to import as a small model its first steps.
PRELOAD_DEEPSPEED = "harmony_core.evaluation.preload_deepspeed"
# The queue of this pool has no other tasks.
_FEEDER = 0


class WarmPool:
    """Runs tasks in forked children, as many at once as there are slots, longest expected first.

    Args:
        log_folder: where each child's output goes, one file a task.
        workers: children at once; None is `sharers` a GPU, or as many as `cores` hold where there is no GPU.
        cores: cores that the children may use together; None is all that this process may.
        threads: CPU threads of a child.
        attempts: how often a task that dies is begun, over all runs, before its death is final.
        memory_limit_gb: a child's limit on its data; None is an even share of this machine's memory, and no
            limit where there are GPUs, whose drivers map more than they use.
        preload: module that is imported once, before the first fork.
        sharers: children that share a GPU at once, by CUDA's MPS where it is installed.
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
        sharers: int = 1,
    ) -> None:
        self._sharers = sharers
        self._sharing: dict[str, str] = {}
        self._workers = workers or sharers * len(visible_gpus()) or max(1, (cores or usable_cores()) // threads)
        self._threads, self._attempts = threads, attempts
        self._log_folder = log_folder
        self._memory_limit_gb = memory_limit_gb if memory_limit_gb is not None else even_share_gb(self._workers)
        self._children = Children(preload, threads)
        self._running: dict[Child, Assignment] = {}

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
        """Runs every task to a final outcome; arguments as for `Pool.run`.

        Children are killed when this ends by an exception, KeyboardInterrupt included; so it does with a
        UserError of a child, which is no candidate's fault: a damaged file.
        """
        by_key = {task.key: task for task in tasks}
        if not by_key:
            return
        queue = TaskQueue()
        order = sorted(by_key.values(), key=lambda task: task.key)
        queue.add(_FEEDER, (), [job_of(task, self._attempts) for task in order], time.monotonic())
        for slot in range(self._workers):
            queue.join(Rank(slot, host_name(), 0, slot))
        self._children.warm_up()
        with mps(self._sharers) as self._sharing:
            try:
                while not queue.is_over:
                    self._begin(queue, by_key, on_begin)
                    for ended in self._wait(queue):
                        on_outcome(outcome_of(ended, by_key[ended.assignment.job.key]))
                    if queue.is_without_nodes and not queue.is_over:
                        raise no_node_left(queue.left_out)
            finally:
                self._children.kill_all()
                self._running.clear()

    def _begin(self, queue: TaskQueue, by_key: dict[str, Task], on_begin: Callable[[Task, int], None]) -> None:
        for assignment in queue.assign(time.monotonic()):
            (rank,) = assignment.team
            if assignment.is_probe:
                self._start(probe_task(self._log_folder), assignment, rank)
                continue
            task = by_key[assignment.job.key]
            self._start(task, assignment, rank)
            on_begin(task, assignment.attempt)

    def _wait(self, queue: TaskQueue) -> list[Ended]:
        """Waits until a child has ended, or an earlier death can be judged."""
        due = queue.next_time()
        ended: list[Ended] = []
        for child, outcome in self._children.wait(None if due is None else due - time.monotonic()):
            assignment = self._running.pop(child)
            ended += queue.ended(assignment.id, assignment.team[0], report_of(outcome), time.monotonic())[0]
        return ended + queue.settle(time.monotonic())

    def _start(self, task: Task, assignment: Assignment, rank: Rank) -> None:
        setup = Setup(
            log=self._log_folder / f"{task.key}.log",
            threads=self._threads,
            memory_limit_gb=self._memory_limit_gb,
            environment={**own_gpu(rank.local, self._sharers), **self._sharing, "LOCAL_RANK": "0"},
        )
        self._running[self._children.start(task, assignment.attempt, setup)] = assignment


def even_share_gb(workers: int) -> float | None:
    """What a child may use where as many share this machine's memory, or a job's; no limit beside GPUs.

    A child that asks for too much is then told so, instead of killed by the kernel with no reason given.
    """
    return None if visible_gpus() else max(LEAST_MEMORY_GB, usable_memory_bytes() / workers / 1e9)
