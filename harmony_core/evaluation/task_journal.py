"""What a journal says of tasks: which are done, what the others have died of, what lost attempts took."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from harmony_core.store import Journal
from harmony_core.workers import Outcome, Task

Record = dict[str, Any]


def _no_guard() -> None:
    """Nobody else writes to the journal."""


class TaskJournal:
    """The journal of some tasks, in the hands of the one process that runs them; a context manager.

    Its events: `open` (a process took the tasks), `begin` (an attempt), `final`, `death` (counts against the task,
    with the nodes where it ran) and `interruption` (does not); the last three with the device seconds that it took.
    `left_out` names a node on which nothing is begun any more, and why. Records that are none of these are passed over.

    Args:
        path: the file; records of earlier runs are taken from here, deaths included.
        tasks: with distinct keys.
        is_answer: whether an earlier record answers the task (a journal may outlive its search).
        guard: called before anything is written; raises if this process has lost the right to.
    """

    def __init__(
        self,
        path: Path,
        tasks: Sequence[Task],
        is_answer: Callable[[Record, Task], bool],
        guard: Callable[[], None] = _no_guard,
    ) -> None:
        self._journal, self._guard = Journal(path), guard
        self._tasks = {task.key: task for task in tasks}
        self._done: dict[str, Record] = {}
        # Device seconds of each task's lost attempts.
        self._spent: dict[str, float] = defaultdict(float)
        # The node of each death of a task; empty where nobody knows it.
        self._deaths: dict[str, list[str]] = defaultdict(list)
        self._left_out: set[str] = set()
        for record in self._journal.records():
            self._take(record, is_answer)

    def __enter__(self) -> Self:
        self._journal.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._journal.__exit__(*error)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def num_done(self) -> int:
        """Tasks that have a final record."""
        return len(self._done)

    @property
    def todo(self) -> list[Task]:
        """The tasks without a final record, each with what it has died of."""
        return [self._told(task) for key, task in self._tasks.items() if key not in self._done]

    def answers(self) -> list[Record]:
        """The final records, in the tasks' order; KeyError while one is missing."""
        return [self._done[key] for key in self._tasks]

    def open(self) -> None:
        """This process takes the tasks."""
        self._write({"event": "open", "total": len(self)})

    def begin(self, task: Task, attempt: int) -> None:
        """An attempt begins."""
        self._write({"event": "begin", "key": task.key, "attempt": attempt})

    def leave_out(self, node: str, why: str) -> None:
        """Nothing is begun on a node any more; said once."""
        if node not in self._left_out:
            self._left_out.add(node)
            self._write({"event": "left_out", "node": node, "why": why})

    def lose(self, outcome: Outcome) -> None:
        """An attempt ended without an answer, and the task is to be begun again."""
        event, key, seconds = "death" if outcome.counts else "interruption", outcome.task.key, outcome.device_seconds
        self._spent[key] += seconds
        lost = {"error": outcome.error, "device_seconds": seconds, "nodes": list(outcome.nodes)}
        self._write({"event": event, "key": key, **lost})

    def with_lost_seconds(self, outcome: Outcome) -> Outcome:
        """A task's last outcome, with the device seconds of all its attempts."""
        return dataclasses.replace(outcome, device_seconds=self._spent[outcome.task.key] + outcome.device_seconds)

    def keep(self, task: Task, answer: Record) -> None:
        """A task is over; durable once this returns."""
        self._write({"event": "final", "key": task.key, "answer": answer})
        self._done[task.key] = answer

    def _write(self, record: Record) -> None:
        self._guard()
        self._journal.append(record)

    def _take(self, record: Record, is_answer: Callable[[Record, Task], bool]) -> None:
        """Takes in a record of an earlier run, if it is one of a task's end."""
        event, key = record.get("event"), record.get("key")
        if not isinstance(key, str):
            return
        if event in ("death", "interruption"):
            self._spent[key] += _seconds(record.get("device_seconds"))
        if event == "death":
            nodes = record.get("nodes")
            nodes = nodes if isinstance(nodes, list) else []
            self._deaths[key].append(nodes[0] if len(nodes) == 1 and isinstance(nodes[0], str) else "")
        # A process that seemed dead may write a second final record of a task; the first one counts.
        if event == "final" and key in self._tasks and _answers(record, self._tasks[key], is_answer):
            self._done.setdefault(key, record["answer"])

    def _told(self, task: Task) -> Task:
        deaths = self._deaths[task.key]
        return dataclasses.replace(task, attempts_before=len(deaths), died_on=tuple(node for node in deaths if node))


def _seconds(value: Any) -> float:
    """A time from a journal; none for what is no time."""
    return value if isinstance(value, float) and 0.0 <= value < math.inf else 0.0


def _answers(record: Record, task: Task, is_answer: Callable[[Record, Task], bool]) -> bool:
    """Whether a final record holds an answer to a task, which one that somebody else wrote may not."""
    try:
        return is_answer(record["answer"], task)
    except (KeyError, TypeError, AttributeError, IndexError):
        return False
