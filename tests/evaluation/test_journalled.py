"""Every task to one final record: what a journal holds is believed, what it lacks is run, what was lost is counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from harmony_core.evaluation.journalled import run_journalled
from harmony_core.evaluation.task_journal import TaskJournal
from harmony_core.store import Journal
from harmony_core.workers import Outcome, Task
from tests.workers.rubbish import rubbish

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
                left_out = None if counts else ("n1", "full")
                died = Outcome(task, attempt, None, "killed", final=False, counts=counts, device_seconds=1.0)
                on_outcome(dataclasses.replace(died, nodes=("n1",), left_out=left_out))
            on_outcome(Outcome(task, 9, {"value": task.key}, device_seconds=1.0))


def run(path: Path, pool: Script, guard: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    def is_answer(record: dict[str, Any], task: Task) -> bool:
        return bool(record["recipe"] == task.payload["recipe"])

    with TaskJournal(path, TASKS, is_answer, guard) as journal:
        return run_journalled(
            pool,
            journal,
            answer=lambda outcome: {
                **(outcome.result or {}),
                "seconds": outcome.device_seconds,
                **outcome.task.payload,
            },
            report=lambda record, done, total: None,
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


def test_where_deaths_were_is_remembered_and_a_node_that_is_left_out_is_said_once(tmp_path: Path) -> None:
    class Asked(Script):
        def run(self, tasks: Iterable[Task], *told: Any) -> None:
            given = list(tasks)
            self.died_on = [task.died_on for task in given]
            super().run(given, *told)

    write(tmp_path / "j", {"event": "death", "key": "a", "nodes": ["n7"]}, {"event": "death", "key": "a"})
    pool = Asked(a=[True, False], b=[False])
    run(tmp_path / "j", pool)
    assert pool.died_on == [("n7",), ()]
    records = Journal(tmp_path / "j").records()
    left_out = [one for one in records if one["event"] == "left_out"]
    assert left_out == [{"event": "left_out", "node": "n1", "why": "full"}]
    assert [one["nodes"] for one in records[2:] if one["event"] in ("death", "interruption")] == [["n1"]] * 3


def test_records_that_are_nobodys_are_passed_over(tmp_path: Path) -> None:
    """Thousands of lines of rubbish: what is no answer to a task is not believed, and nothing breaks."""
    whole = [final("a", value=1), {"event": "death", "key": "b", "device_seconds": 1.0, "nodes": ["n1"]}]
    lines = [line.replace(b"\n", b" ") for line in rubbish(5_000, 5, whole)]
    (tmp_path / "j").write_bytes(b"\n".join(lines) + b"\n")
    pool = Script()
    first, second = run(tmp_path / "j", pool)
    assert (first["recipe"], second["value"]) == (1, "b")
    assert [key for key, _ in pool.ran] == ["b"]
    assert pool.ran[0][1] > 100


def test_whoever_has_lost_the_right_to_a_shard_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "j", final("b"))
    before = (tmp_path / "j").read_bytes()

    def lost() -> None:
        raise PermissionError("another holder")

    with pytest.raises(PermissionError):
        run(tmp_path / "j", Script(), lost)
    assert (tmp_path / "j").read_bytes() == before
