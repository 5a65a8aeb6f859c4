"""A task, how one attempt at it ended, and what runs tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Protocol

# Causes of a death that are not the task's fault: a signal from outside or the loss of its worker; an error of the
# machine.
OUTSIDE = "outside"
MACHINE = "machine"


@dataclasses.dataclass(frozen=True)
class Task:
    """One candidate's work: a function by name, its JSON-able payload, and how often it was begun before.

    Args:
        key: its name among the tasks of one pool.
        target: `package.module:function`, called with the payload.
        payload: JSON-able arguments.
        expected_seconds: how long it will probably take; the longest begins first.
        time_limit_seconds: its own limit on wall time.
        attempts_before: attempts of earlier runs that count against it.
        died_on: the nodes of those attempts, as far as they are known.
        leaving_seconds: what it needs to leave when it is told to; None is not known.
    """

    key: str
    target: str
    payload: dict[str, Any]
    expected_seconds: float = 0.0
    time_limit_seconds: float = float("inf")
    attempts_before: int = 0
    died_on: tuple[str, ...] = ()
    leaving_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one attempt ended.

    Args:
        task: whose attempt.
        attempt: its number, from 1.
        result: the answer; None for a child that died.
        error: why it died.
        killed: whether its time limit ended it.
        final: whether the task is over; else it is to be begun again.
        counts: whether the attempt counts against the task; a lost worker's death is nobody's fault.
        device_seconds: wall time of the attempt, times the devices (or CPU slots) that it held, and how long an
            allocation had held those before, where it is the first there.
        cause: of a death, if not the task itself: `OUTSIDE` or `MACHINE`.
        nodes: where it ran.
        left_out: the node that is to blame, on which nothing is begun any more, and why.
    """

    task: Task
    attempt: int
    result: dict[str, Any] | None
    error: str | None = None
    killed: bool = False
    final: bool = True
    counts: bool = True
    device_seconds: float = 0.0
    cause: str = ""
    nodes: tuple[str, ...] = ()
    left_out: tuple[str, str] | None = None


class WorkInterrupted(Exception):
    """The machines were taken away before every task was over; what is left can be run again."""


class Pool(Protocol):
    """Runs tasks, longest expected first, each in a process of its own."""

    def run(
        self, tasks: Iterable[Task], on_outcome: Callable[[Outcome], None], on_begin: Callable[[Task, int], None]
    ) -> None:
        """Runs every task to a final outcome.

        Args:
            tasks: with distinct keys.
            on_outcome: hears of each attempt's end, in order of ending.
            on_begin: hears of each attempt's beginning, with its number.

        Raises:
            WorkInterrupted: some tasks had no final outcome when the machines were taken away.
            UserError: a task met what is no candidate's fault (a damaged file), or every node was left out.
        """
