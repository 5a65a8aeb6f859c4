"""Tasks and outcomes as the queue's rules know them, and the known small task that tells whether a node is healthy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harmony_core.errors import UserError
from harmony_core.workers.attempts import AttemptReport, Ended, Job
from harmony_core.workers.task import Outcome, Task

# This names the function, since this room does not know what candidates compute.
PROBE = "harmony_core.evaluation.probe:run"
# The task takes a second. A node that needs a minute for it is not one to measure architectures on.
PROBE_SECONDS = 60.0


def job_of(task: Task, attempts: int, feeder: int = 0) -> Job:
    """A task as the queue's rules see it.

    Args:
        task: with the deaths that it brings along.
        attempts: most, until the task has failed.
        feeder: number of the one that brought it.
    """
    return Job(feeder, task.key, task.expected_seconds, task.attempts_before, attempts, task.died_on)


def report_of(outcome: Outcome) -> AttemptReport:
    """How a child ended, as its part of an attempt."""
    return AttemptReport(
        outcome.result, outcome.error, outcome.killed, outcome.counts, outcome.device_seconds, cause=outcome.cause
    )


def outcome_of(ended: Ended, task: Task) -> Outcome:
    """How an attempt ended, as whoever brought the task hears of it."""
    report = ended.report
    return Outcome(
        task,
        ended.assignment.attempt,
        report.result,
        report.error,
        report.killed,
        final=ended.final,
        counts=report.counts,
        device_seconds=ended.device_seconds,
        cause=report.cause,
        nodes=tuple(sorted(ended.assignment.nodes)),
        left_out=ended.left_out,
    )


def probe_task(log_folder: Path, target: str = PROBE) -> Task:
    """The known small task; it writes where the candidates write."""
    return Task("probe", target, {"folder": str(log_folder)}, time_limit_seconds=PROBE_SECONDS)


def no_node_left(left_out: Mapping[str, str]) -> UserError:
    """What a person is told when there is no node left that is believed healthy."""
    why = "; ".join(f"{node}: {reason}" for node, reason in sorted(left_out.items()))
    return UserError("nodes left out", why, "mend them (space, quota, libraries) and run again; what is done stays")
