"""A failed job is put together from what Snakemake says of it in several records."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from snakemake_logger_plugin_harmony.failed_jobs import TAIL_LINES, FailedJobs


def record(**data: Any) -> logging.LogRecord:
    return logging.makeLogRecord(data)


def info(jobid: int, command: str | None, **wildcards: str) -> logging.LogRecord:
    return record(jobid=jobid, shellcmd=command, wildcards=wildcards)


def error(jobid: int, command: str | None, log: tuple[str, ...] = (), **data: Any) -> logging.LogRecord:
    fields = {"rule_name": "train", "rule_msg": None, "conda_env": None, "container_img": None, "aux": {}, **data}
    return record(jobid=jobid, shellcmd=command, log=log, **fields)


def ended(command: str, how: str) -> str:
    return f"RuleException:\nCalledProcessError in file \"x.smk\", line 3:\nCommand 'set -e;  {command}' {how}"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("returned non-zero exit status 75.", "exit status 75"),
        ("died with <Signals.SIGKILL: 9>.", "killed by SIGKILL"),
    ],
)
def test_the_exit_is_told_with_the_job(how: str, told: str) -> None:
    jobs = FailedJobs()
    jobs.note_job(info(3, "run --shard 1", generation="000", shard="001"))
    assert jobs.note_exit(ended("run --shard 1", how))
    text = jobs.describe(error(3, "run --shard 1"))
    assert text.splitlines()[0] == f"rule train failed: generation=000 shard=001, {told}"
    assert "command: run --shard 1" in text
    assert jobs.left_over() == []


def test_a_command_that_begins_another_ones_keeps_its_own_exit() -> None:
    jobs = FailedJobs()
    jobs.note_job(info(1, "run --shard 1", shard="1"))
    jobs.note_job(info(2, "run --shard 10", shard="10"))
    jobs.note_exit(ended("run --shard 10", "returned non-zero exit status 4."))
    jobs.note_exit(ended("run --shard 1", "returned non-zero exit status 3."))
    assert jobs.describe(error(1, "run --shard 1")).startswith("rule train failed: shard=1, exit status 3")
    assert jobs.describe(error(2, "run --shard 10")).startswith("rule train failed: shard=10, exit status 4")


def test_a_job_that_fails_again_has_its_new_exit_alone() -> None:
    jobs = FailedJobs()
    for status in (3, 4):
        jobs.note_job(info(1, "run", shard="1"))
        jobs.note_exit(ended("run", f"returned non-zero exit status {status}."))
        assert jobs.describe(error(1, "run")).startswith(f"rule train failed: shard=1, exit status {status}")
    assert "exit status" not in jobs.describe(error(1, "run"))


def test_an_error_of_anything_else_is_not_kept() -> None:
    jobs = FailedJobs()
    jobs.note_job(info(1, "run"))
    assert not jobs.note_exit("WorkflowError: At least one job did not complete successfully.")
    assert not jobs.note_exit(ended("another command", "returned non-zero exit status 1."))
    assert not jobs.note_exit("MissingOutputException: run has not made its file")


def test_an_exit_whose_job_never_failed_is_left_over() -> None:
    jobs = FailedJobs()
    jobs.note_job(info(1, "run"))
    text = ended("run", "returned non-zero exit status 1.")
    jobs.note_exit(text)
    assert jobs.left_over() == [text]
    assert jobs.left_over() == []


def test_everything_an_executor_says_is_there() -> None:
    data = {"rule_msg": "out of memory\non node 7", "aux": {"external_jobid": "12_3"}, "conda_env": "/envs/a"}
    text = FailedJobs().describe(error(9, None, **data))
    assert text.splitlines() == [
        "rule train failed",
        "    message: out of memory",
        "        on node 7",
        "    environment: /envs/a",
        "    external_jobid: 12_3",
    ]


def test_logs_end_at_the_margin_as_the_job_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text("".join(f"line {number}\n" for number in range(100)) + "error: data: bad\n")
    lines = FailedJobs().describe(error(1, "run", (str(path),))).splitlines()
    assert lines[2] == f"    log: {path} (the last lines)"
    assert lines[3:] == [*(f"line {number}" for number in range(101 - TAIL_LINES, 100)), "error: data: bad"]


def test_a_huge_log_of_any_bytes_is_told_by_its_end(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_bytes(b"x" * 10_000_000 + b"\n\xff end")
    lines = FailedJobs().describe(error(1, "run", (str(path),))).splitlines()
    assert lines[2].endswith("(the last lines)")
    assert lines[-1] == "\N{REPLACEMENT CHARACTER} end"
    assert len(lines[-2]) < 100_000


def test_a_log_that_is_empty_or_not_there_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    logs = (str(tmp_path / "empty.log"), str(tmp_path / "none.log"), str(tmp_path))
    lines = FailedJobs().describe(error(1, "run", logs)).splitlines()
    assert lines[2:] == [
        f"    log: {logs[0]}: empty",
        f"    log: {logs[1]}: No such file or directory",
        f"    log: {logs[2]}: Is a directory",
    ]
