"""Runs tasks once and for all: what a shard's journal holds is done, what it does not hold is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harmony_core.evaluation.pool import Outcome, Task, WarmPool
from harmony_core.store import Journal

Record = dict[str, Any]


def run_journalled(
    pool: WarmPool,
    tasks: Sequence[Task],
    journal_path: Path,
    *,
    answer: Callable[[Outcome], Record],
    is_of: Callable[[Record, Task], bool],
    report: Callable[[Record, int, int], None],
    before: Callable[[], None],
) -> list[Record]:
    """Brings every task to its final record, durable as soon as it ends, and returns them in the tasks' order.

    Args:
        pool: where they run.
        tasks: with distinct keys.
        journal_path: records of earlier runs are taken from here, deaths included.
        answer: a final outcome's record, whether the child answered or died.
        is_of: whether an earlier record answers the same task (a journal may outlive its search).
        report: called with each new record, how many are done and how many there are.
        before: called once, if anything is to be run.
    """
    with Journal(journal_path) as journal:
        earlier = journal.records()
        by_key = {task.key: task for task in tasks}
        done = {
            record["key"]: record["answer"]
            for record in earlier
            if record["event"] == "final" and record["key"] in by_key and is_of(record["answer"], by_key[record["key"]])
        }
        deaths = [record["key"] for record in earlier if record["event"] == "death"]

        def on_outcome(outcome: Outcome) -> None:
            key = outcome.task.key
            if not outcome.final:
                event = "death" if outcome.counts else "interruption"
                journal.append({"event": event, "key": key, "error": outcome.error})
                return
            done[key] = answer(outcome)
            journal.append({"event": "final", "key": key, "answer": done[key]})
            report(done[key], len(done), len(tasks))

        todo = [task for task in tasks if task.key not in done]
        if todo:
            before()
        pool.run([dataclasses.replace(task, attempts_before=deaths.count(task.key)) for task in todo], on_outcome)
        return [done[task.key] for task in tasks]
