"""Commands are asked with a limit, and leave nothing behind."""

from __future__ import annotations

import time
from pathlib import Path

from harmony_core.slurm.command import NOT_FOUND, TOO_LATE, Answer, run
from tests.waiting import is_gone


def test_what_a_command_says() -> None:
    answer = run(["bash", "-c", "echo out; echo why >&2; exit 3"])
    assert answer == Answer(3, "out\n", "why\n")
    assert answer.reason == "why"


def test_a_command_that_is_not_there() -> None:
    assert run(["no-such-command"]).code == NOT_FOUND


def test_a_file_that_is_no_command(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert run([str(tmp_path / "plain")]).reason.endswith("Permission denied")


def test_a_silent_failure_has_a_reason_too() -> None:
    assert run(["false"]).reason == "exit code 1, and not a word"


def test_too_late_ends_children_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    started = time.monotonic()
    answer = run(["bash", "-c", f"sleep infinity & echo $! > {pid}; wait"], limit=0.5)
    assert answer.code == TOO_LATE
    # Nor is the child waited for, which holds the pipes.
    assert time.monotonic() - started < 30
    assert answer.reason == "bash did not answer in 0.5 s"
    assert is_gone(int(pid.read_text()))
