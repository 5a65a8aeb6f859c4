"""Every task to one final record: what a journal holds is believed, what it lacks is run, what was lost is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from harmony_core.evaluation.journalled import run_journalled
from harmony_core.store import Journal
from harmony_core.workers import Outcome, Task

TASKS = [Task("a", "m:f", {"recipe": 1}), Task("b", "m:f", {"recipe": 1})]


class Script:
    """A pool in which every attempt takes a second; `deaths` says how each task's first ones end (does it count)."""

    def __init__(self, **deaths: list[bool]) -> None:
        self.deaths = deaths
        self.ran: list[tuple[str, int]] = []

    def run(
        self, tasks: Iterable[Task], on_outcome: Callable[[Outcome], None], on_begin: Callable[[Task, int], None]
    ) -> None:
        for task in tasks:
            self.ran.append((task.key, task.attempts_before))
            for attempt, counts in enumerate(self.deaths.get(task.key, ()), start=1):
                on_begin(task, attempt)
                on_outcome(Outcome(task, attempt, None, "killed", final=False, counts=counts, device_seconds=1.0))
            on_outcome(Outcome(task, 9, {"value": task.key}, device_seconds=1.0))


def run(path: Path, pool: Script, guard: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    return run_journalled(
        pool,
        TASKS,
        path,
        answer=lambda outcome: {**(outcome.result or {}), "seconds": outcome.device_seconds, **outcome.task.payload},
        is_of=lambda record, task: record["recipe"] == task.payload["recipe"],
        report=lambda record, done, total: None,
        before=lambda: None,
        guard=guard,
    )


def write(path: Path, *records: dict[str, Any]) -> None:
    with Journal(path) as journal:
        for record in records:
            journal.append(record)


def final(key: str, **answer: Any) -> dict[str, Any]:
    return {"event": "final", "key": key, "answer": {"recipe": 1, **answer}}


def test_an_answer_has_the_seconds_of_every_attempt_that_was_lost_in_this_run_and_before(tmp_path: Path) -> None:
    lost = {"key": "a", "error": "killed", "device_seconds": 10.0}
    write(tmp_path / "j", {"event": "death", **lost}, {"event": "interruption", **lost}, {"event": "death", **lost})
    pool = Script(a=[True, False])
    first, second = run(tmp_path / "j", pool)
    assert (first["seconds"], second["seconds"]) == (33.0, 1.0)
    # Deaths count against a candidate, interruptions do not.
    assert pool.ran == [("a", 2), ("b", 0)]


def test_the_first_of_two_final_records_counts_and_nothing_is_run_again(tmp_path: Path) -> None:
    write(tmp_path / "j", final("b", value=1), final("a", value=2), final("a", value=3))
    before = (tmp_path / "j").read_bytes()
    pool = Script()
    assert [record["value"] for record in run(tmp_path / "j", pool)] == [2, 1]
    assert pool.ran == []
    assert (tmp_path / "j").read_bytes() == before


def test_a_record_of_another_task_is_not_believed(tmp_path: Path) -> None:
    write(tmp_path / "j", {"event": "final", "key": "a", "answer": {"recipe": 0}}, final("b"), final("c"))
    pool = Script()
    assert run(tmp_path / "j", pool)[0]["value"] == "a"
    assert pool.ran == [("a", 0)]


def test_whoever_has_lost_the_right_to_a_shard_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "j", final("b"))
    before = (tmp_path / "j").read_bytes()

    def lost() -> None:
        raise PermissionError("another holder")

    with pytest.raises(PermissionError):
        run(tmp_path / "j", Script(), lost)
    assert (tmp_path / "j").read_bytes() == before
