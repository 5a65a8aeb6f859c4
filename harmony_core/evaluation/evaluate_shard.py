"""Evaluates one shard of a generation: every task to a final row, whatever was done before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from harmony_core.evaluation.evaluator import Evaluator
from harmony_core.evaluation.journalled import run_journalled
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Row, Shard
from harmony_core.evaluation.task_journal import Record, TaskJournal
from harmony_core.store import write_table
from harmony_core.store.versions import completed
from harmony_core.workers import Lease

Report = Callable[[Row, int, int], None]


def evaluate_shard(evaluator: Evaluator, shard: Shard, *, report: Report, launcher: Launcher) -> None:
    """Runs an evaluator on a shard and writes its tables.

    Each task's answer goes to the shard's journal, fsynced, when it ends; what the journal already holds is not done
    again, and a candidate that dies is a row that says so. One process works on a shard at a time: a second one waits
    for the first, and then finds its work done.

    Args:
        evaluator: with the options of this evaluation.
        shard: whom it evaluates.
        report: called with each final row, how many are done and how many there are.
        launcher: where the tasks run.

    Raises:
        UserError: what is no candidate's fault: damaged data, a machine that cannot do it.
        WorkInterrupted: the machines were taken away; doing it again goes on where this ended.
    """
    with Lease(shard.work(evaluator.name) / "lease") as lease:
        if evaluator.needs_workers(shard.setting.config):
            records = _run(evaluator, shard, report, launcher, lease)
        else:
            records = _compute(evaluator, shard, report)
        lease.check()
        _write(evaluator, shard, records)
        evaluator.tidy(shard)


def _run(evaluator: Evaluator, shard: Shard, report: Report, launcher: Launcher, lease: Lease) -> list[Record]:
    path = shard.work(evaluator.name) / "journal.jsonl"
    with (
        evaluator.workers(shard, launcher) as pool,
        TaskJournal(path, evaluator.tasks(shard), evaluator.is_answer, lease.check) as journal,
    ):
        if journal.todo:
            evaluator.prepare(shard)
        return run_journalled(
            pool,
            journal,
            answer=partial(evaluator.answer, shard),
            report=lambda record, done, total: report(evaluator.told(shard, record), done, total),
            refusal=evaluator.refusal,
        )


def _compute(evaluator: Evaluator, shard: Shard, report: Report) -> list[Record]:
    records = []
    for candidate in shard.population:
        records.append(evaluator.computed(shard, candidate))
        report(evaluator.told(shard, records[-1]), len(records), len(shard.population))
    return records


def _write(evaluator: Evaluator, shard: Shard, records: list[Record]) -> None:
    rows, folder = evaluator.rows(shard, records), shard.setting.folder
    # The evaluator's own table comes last: who sees it sees all of the shard.
    for name, schema in reversed(evaluator.table.schemas.items()):
        path = folder.shard(shard.generation, name, shard.index)
        # A journal may be older than a column of the table.
        write_table(path, [completed(_timed(row), schema) for row in rows[name]], schema)
    evaluator.log(shard, rows)


def _timed(row: Row) -> Row:
    """With its time as one, which was text in the journal."""
    return {**row, "started_at": datetime.fromisoformat(row["started_at"])} if "started_at" in row else row
