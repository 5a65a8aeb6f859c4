"""Processes of one training on one machine: what they are told, how they end, and that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harmony_core.training.heartbeat import STOOD_STILL
from harmony_core.training.launch import launch, log_file
from tests.waiting import PATIENCE, wait_until

RANK = "import os, sys, time, signal; rank = int(os.environ['RANK']); "


def run(code: str, logs: Path, size: int = 3) -> int:
    return launch([sys.executable, "-c", RANK + code], size, logs)


def test_every_rank_finds_its_place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = "RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR OMP_NUM_THREADS"
    assert run(f"print(*[os.environ[name] for name in '{names}'.split()])", tmp_path) == 0
    assert capfd.readouterr().out == "0 3 0 127.0.0.1 1\n"
    assert [log_file(tmp_path, rank).read_text() for rank in (1, 2)] == ["1 3 1 127.0.0.1 1\n", "2 3 2 127.0.0.1 1\n"]


@pytest.mark.parametrize(
    ("bad", "code", "told"),
    [("sys.exit('no such file')", 1, "exit code 1"), ("os.kill(os.getpid(), 9)", 128 + 9, "SIGKILL")],
)
def test_the_first_that_fails_is_named(
    bad: str, code: int, told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those that end because of it, with an exit code that says so, are not; even if they are quicker."""
    others = f"sys.exit({STOOD_STILL})"
    slowly = f"(print('working', flush=True), time.sleep(1), {bad}) if rank == 1 else {others}"
    assert run(slowly, tmp_path) == code
    err = capfd.readouterr().err
    assert f"rank 1 failed with {told}; the end of {log_file(tmp_path, 1)}:\n  working" in err


def test_the_others_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that does not listen, and one that is stopped."""
    monkeypatch.setattr("harmony_core.training.launch._GRACE_SECONDS", 1.0)
    monkeypatch.setattr("harmony_core.training.launch._TERMINATION_SECONDS", 1.0)
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN), time.sleep(10**6)"
    begin, before = time.monotonic(), set(psutil.Process().children(recursive=True))
    code = f"sys.exit(3) if rank == 2 else os.kill(os.getpid(), signal.SIGSTOP) if rank == 1 else ({deaf})"
    assert run(code, tmp_path) == 3
    assert time.monotonic() - begin < 20
    assert set(psutil.Process().children(recursive=True)) <= before


def test_one_that_does_not_leave_when_the_others_have_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harmony_core.training.launch._LEAVING_SECONDS", 0.5)
    before = set(psutil.Process().children(recursive=True))
    assert run("time.sleep(10**6) if rank == 1 else None", tmp_path) == STOOD_STILL
    assert "rank 1 did not end within 0.5 s of the others" in capfd.readouterr().err
    assert set(psutil.Process().children(recursive=True)) <= before


def start_launcher(code: str, logs: Path) -> subprocess.Popen[str]:
    """A launcher in a process of its own, whose ranks have said that they listen."""
    call = f"import sys; from harmony_core.training.launch import launch; from pathlib import Path; sys.exit(launch([sys.executable, '-c', {RANK + code!r}], 2, Path({str(logs)!r})))"  # noqa: E501
    launcher = subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "listening\n"
    wait_until(lambda: log_file(logs, 1).exists() and "listening" in log_file(logs, 1).read_text())
    return launcher


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_ranks_and_leaving_is_no_failure(number: signal.Signals, tmp_path: Path) -> None:
    handler = f"lambda *_: (time.sleep(rank), sys.exit({os.EX_TEMPFAIL}))"
    hears = f"[signal.signal(n, {handler}) for n in (signal.SIGUSR1, signal.SIGTERM)]"
    launcher = start_launcher(f"{hears}; print('listening', flush=True); time.sleep(10**6)", tmp_path)
    launcher.send_signal(number)
    _, told = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == os.EX_TEMPFAIL
    assert "failed" not in told


def test_ranks_that_were_told_before_they_could_hear_are_no_failure(tmp_path: Path) -> None:
    launcher = start_launcher("print('listening', flush=True); time.sleep(10**6)", tmp_path)
    launcher.send_signal(signal.SIGUSR1)
    _, told = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == os.EX_TEMPFAIL
    assert "failed" not in told


def test_ranks_die_with_the_launcher(tmp_path: Path) -> None:
    launcher = start_launcher("print('listening', flush=True); time.sleep(10**6)", tmp_path)
    ranks = psutil.Process(launcher.pid).children()
    assert len(ranks) == 2
    launcher.kill()
    launcher.communicate()
    _, alive = psutil.wait_procs(ranks, timeout=PATIENCE)
    assert alive == []
