"""Runs tasks once and for all: what their journal holds is done, what it does not hold is run."""

from __future__ import annotations

from collections.abc import Callable

from harmony_core.evaluation.task_journal import Record, TaskJournal
from harmony_core.workers import Outcome, Pool, Task


def _all_are_run(task: Task) -> None:
    """No task is refused."""


def run_journalled(
    pool: Pool,
    journal: TaskJournal,
    answer: Callable[[Outcome], Record],
    report: Callable[[Record, int, int], None],
    refusal: Callable[[Task], str | None] = _all_are_run,
) -> list[Record]:
    """Brings every task to its final record, durable as soon as it ends, and returns them in the tasks' order.

    Args:
        pool: where they run.
        journal: of the tasks, opened.
        answer: a final outcome's record, whether the child answered or died; the outcome's
            `device_seconds` are those of all its attempts, lost ones included.
        report: called with each new record, how many are done and how many there are.
        refusal: why a task is over before it has begun; None where it is to be run.

    Raises:
        WorkInterrupted: the machines were taken away; the journal says what is done.
    """

    def on_outcome(outcome: Outcome) -> None:
        if outcome.left_out is not None:
            journal.leave_out(*outcome.left_out)
        if not outcome.final:
            journal.lose(outcome)
            return
        record = answer(journal.with_lost_seconds(outcome))
        journal.keep(outcome.task, record)
        report(record, journal.num_done, len(journal))

    if journal.todo:
        journal.open()
    for task in journal.todo:
        if (why := refusal(task)) is not None:
            on_outcome(Outcome(task, task.attempts_before + 1, None, why))
    pool.run(journal.todo, on_outcome, journal.begin)
    return journal.answers()
