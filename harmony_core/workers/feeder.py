"""A shard's side of the queue: brings its tasks, hears how they end."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from harmony_core.errors import UserError
from harmony_core.workers.address import Address
from harmony_core.workers.attempts import AttemptReport
from harmony_core.workers.exchange import no_node_left
from harmony_core.workers.task import Outcome, Task, WorkInterrupted
from harmony_core.workers.wire import Disconnected, Line, Message


class TeamPool:
    """Runs tasks on the teams of an allocation (`Pool`).

    Args:
        address: of the allocation's queue.
        order: where this pool's tasks stand among those of other feeders; lower ones begin first.
        log_folder: where each child's output goes, one file a task.
        attempts: how often a task that dies is begun, over all runs, before its death is final.
        memory_limit_gb: a child's limit on its data; None is an even share of its node's memory.
    """

    def __init__(
        self,
        address: Address,
        order: tuple[float, ...],
        log_folder: Path,
        *,
        attempts: int = 2,
        memory_limit_gb: float | None = None,
    ) -> None:
        self._address, self._order, self._log_folder = address, order, log_folder
        self._attempts, self._memory_limit_gb = attempts, memory_limit_gb

    def run(
        self, tasks: Iterable[Task], on_outcome: Callable[[Outcome], None], on_begin: Callable[[Task, int], None]
    ) -> None:
        """Runs every task to a final outcome; the line's end withdraws what is left. Arguments as for `Pool.run`."""
        by_key = {task.key: task for task in tasks}
        if not by_key:
            return
        try:
            line, _ = self._address.connect({"role": "feeder", "order": self._order})
        except ConnectionError as error:
            raise WorkInterrupted(f"the queue of the allocation does not answer ({error})") from None
        left = len(by_key)
        try:
            line.send({"tasks": [self._message(task) for task in by_key.values()]})
            while left:
                left -= self._hear(line, by_key, on_outcome, on_begin)
        except Disconnected as error:
            raise WorkInterrupted(f"the queue of the allocation is gone ({error})") from None
        finally:
            line.close()

    def _hear(
        self,
        line: Line,
        by_key: dict[str, Task],
        on_outcome: Callable[[Outcome], None],
        on_begin: Callable[[Task, int], None],
    ) -> bool:
        """Takes the next message; whether it ended a task."""
        message = line.receive()
        if message["type"] == "interrupted":
            raise WorkInterrupted("the allocation ends")
        if message["type"] == "bye":
            raise WorkInterrupted("the allocation was given back")
        if message["type"] == "without nodes":
            raise no_node_left(message["left_out"])
        if message["type"] == "warning":
            print(f"warning: {message['text']}", file=sys.stderr, flush=True)
            return False
        task = by_key[message["key"]]
        if message["type"] == "begun":
            on_begin(task, message["attempt"])
            return False
        report = AttemptReport(**message["report"])
        if report.user_error is not None:
            raise UserError(*report.user_error)
        on_outcome(
            Outcome(
                task,
                message["attempt"],
                report.result,
                report.error,
                report.killed,
                final=message["final"],
                counts=report.counts,
                device_seconds=message["device_seconds"],
                cause=report.cause,
                nodes=tuple(message["nodes"]),
                left_out=tuple(message["left_out"]) if message["left_out"] else None,
            )
        )
        return bool(message["final"])

    def _message(self, task: Task) -> Message:
        limit = task.time_limit_seconds
        return {
            **dataclasses.asdict(task),
            "time_limit_seconds": limit if math.isfinite(limit) else None,
            "attempts": self._attempts,
            "log": str(self._log_folder / f"{task.key}.log"),
            "memory_limit_gb": self._memory_limit_gb,
        }
