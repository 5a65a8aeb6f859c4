"""Runs tasks once and for all: what a shard's journal holds is done, what it does not hold is run."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harmony_core.store import Journal
from harmony_core.workers import Outcome, Pool, Task

Record = dict[str, Any]


def run_journalled(
    pool: Pool,
    tasks: Sequence[Task],
    journal_path: Path,
    *,
    answer: Callable[[Outcome], Record],
    is_of: Callable[[Record, Task], bool],
    report: Callable[[Record, int, int], None],
    before: Callable[[], None],
    guard: Callable[[], None],
) -> list[Record]:
    """Brings every task to its final record, durable as soon as it ends, and returns them in the tasks' order.

    The journal's events: `open` (a process took the shard), `begin` (an attempt), `final`, `death` (counts
    against the task) and `interruption` (does not); the last three with the device seconds that it took.

    Args:
        pool: where they run.
        tasks: with distinct keys.
        journal_path: records of earlier runs are taken from here, deaths included.
        answer: a final outcome's record, whether the child answered or died; the outcome's
            `device_seconds` are those of all its attempts, lost ones included.
        is_of: whether an earlier record answers the same task (a journal may outlive its search).
        report: called with each new record, how many are done and how many there are.
        before: called once, if anything is to be run.
        guard: called before anything is written; raises if this process has lost the right to.

    Raises:
        Interrupted: the machines were taken away; the journal says what is done.
    """
    with Journal(journal_path) as journal:
        earlier = journal.records()
        by_key = {task.key: task for task in tasks}
        done: dict[str, Record] = {}
        spent: dict[str, float] = defaultdict(float)
        for record in earlier:
            key = str(record.get("key"))
            if record["event"] in ("death", "interruption"):
                spent[key] += record.get("device_seconds", 0.0)
            # Of two final records of one task (a process that had seemed dead) the first counts.
            if record["event"] == "final" and key in by_key and is_of(record["answer"], by_key[key]):
                done.setdefault(key, record["answer"])
        deaths = [record["key"] for record in earlier if record["event"] == "death"]

        def write(record: Record) -> None:
            guard()
            journal.append(record)

        def on_begin(task: Task, attempt: int) -> None:
            write({"event": "begin", "key": task.key, "attempt": attempt})

        def on_outcome(outcome: Outcome) -> None:
            key = outcome.task.key
            if not outcome.final:
                event = "death" if outcome.counts else "interruption"
                seconds = outcome.device_seconds
                spent[key] += seconds
                write({"event": event, "key": key, "error": outcome.error, "device_seconds": seconds})
                return
            total = spent[key] + outcome.device_seconds
            record = answer(dataclasses.replace(outcome, device_seconds=total))
            write({"event": "final", "key": key, "answer": record})
            done[key] = record
            report(record, len(done), len(tasks))

        todo = [task for task in tasks if task.key not in done]
        if todo:
            before()
            write({"event": "open", "total": len(tasks)})
        pool.run(
            [dataclasses.replace(task, attempts_before=deaths.count(task.key)) for task in todo], on_outcome, on_begin
        )
        return [done[task.key] for task in tasks]
