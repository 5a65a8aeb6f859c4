"""What runs in a scheduler's job: a command, its end, and its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from snakemake_executor_plugin_submitit.backend import Work
from snakemake_executor_plugin_submitit.child import write_state
from snakemake_executor_plugin_submitit.folder import Folder, find_state
from snakemake_executor_plugin_submitit.runner import Runner
from tests.executor.conftest import Works
from tests.waiting import PATIENCE, is_gone, wait_until

# A process that is what submitit makes of a job; a second argument shortens the grace.
JOB = """
import json, sys
from pathlib import Path
from snakemake_executor_plugin_submitit import runner
from snakemake_executor_plugin_submitit.backend import Work
from snakemake_executor_plugin_submitit.folder import Folder
runner.GRACE_SECONDS = float(sys.argv[3])
runner.Runner(Work(**json.loads(sys.argv[1])), Folder(Path(sys.argv[2])))()
"""


@pytest.fixture
def jobs() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of jobs, ended after the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for job in started:
        job.kill()
        job.wait()


def start(
    work: Work, folder: Folder, jobs: list[subprocess.Popen[bytes]], grace: float = 20
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", JOB, json.dumps(asdict(work)), str(folder.root), str(grace)]
    jobs.append(subprocess.Popen(command))
    return jobs[-1]


def read_pid(path: Path) -> psutil.Process:
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return psutil.Process(int(path.read_text()))


def test_state_has_code_and_tail(folder: Folder, work: Works) -> None:
    one = work(command="seq 100; exit 3")
    assert Runner(one, folder).run() == 3
    state = find_state(folder, one.key, 1)
    assert state is not None
    assert state["rc"] == 3
    assert state["tail"].splitlines() == [str(number) for number in range(81, 101)]
    assert folder.log(one.name, one.key, 1).read_text().count("\n") == 100


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("false; true", 1),  # -e
        ("echo $UNDEFINED", 1),  # -u
        ("false | true", 1),  # pipefail
        ("kill -9 $$", 137),
        ("exit 75", 75),
    ],
)
def test_commands_run_as_snakemake_runs_them(folder: Folder, work: Works, command: str, code: int) -> None:
    assert Runner(work(command=command), folder).run() == code


def test_a_command_longer_than_a_command_line_may_be(folder: Folder, work: Works) -> None:
    assert Runner(work(command=f"test -n '{'x' * 200_000}' && echo well"), folder).run() == 0
    state = find_state(folder, "target-content", 1)
    assert state is not None
    assert state["tail"] == "well"


def test_what_a_command_leaves_running_is_ended(folder: Folder, work: Works, tmp_path: Path) -> None:
    assert Runner(work(command="sleep infinity & echo $! > left"), folder).run() == 0
    left = tmp_path / "left"
    wait_until(lambda: is_gone(int(left.read_text())))


def test_the_first_state_wins_and_nothing_runs_again(folder: Folder, work: Works, tmp_path: Path) -> None:
    one = work(command="touch ran; false")
    write_state(folder, one, 0, "1")
    write_state(folder, one, 1, "2")
    assert Runner(one, folder).run() == 0
    assert not (tmp_path / "ran").exists()
    state = find_state(folder, one.key, 1)
    assert state is not None
    assert state["job_id"] == "1"


def test_the_process_ends_as_the_command_did(folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]]) -> None:
    assert start(work(command="exit 4"), folder, jobs).wait() == 4


def test_a_killed_job_leaves_no_process(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    command = "trap '' TERM; sleep infinity & echo $! > child; echo $$ > shell; wait"
    job = start(work(command=command), folder, jobs)
    processes = [read_pid(tmp_path / "child"), read_pid(tmp_path / "shell")]
    job.kill()
    wait_until(lambda: all(map(is_gone, processes)))
    assert find_state(folder, "target-content", 1) is None


def test_a_job_killed_while_its_command_begins_leaves_no_process(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    dies = f"""
import os, subprocess
from pathlib import Path
Started = subprocess.Popen
def start_and_die(command, **options):
    process = Started(command, **options)
    if command[0] == "bash":
        while not Path({str(begun)!r}).exists():
            pass
        os.kill(os.getpid(), 9)
    return process
subprocess.Popen = start_and_die
"""
    one = work(command="trap '' TERM; sleep infinity & echo $! > child; touch begun; wait")
    jobs.append(subprocess.Popen([sys.executable, "-c", dies + JOB, json.dumps(asdict(one)), str(folder.root), "20"]))
    assert jobs[-1].wait(PATIENCE) == -signal.SIGKILL
    process = read_pid(tmp_path / "child")
    wait_until(lambda: is_gone(process))


def test_the_shell_ends_with_its_job_even_without_the_guardian(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    job = start(work(command="echo $$ > shell; while true; do sleep 1; done"), folder, jobs)
    shell = read_pid(tmp_path / "shell")
    (guardian,) = [one for one in psutil.Process(job.pid).children() if "guardian.py" in one.cmdline()[-1]]
    guardian.kill()
    job.kill()
    wait_until(lambda: is_gone(shell))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_job_ends_its_command_and_leaves_the_verdict_to_the_scheduler(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path, number: int
) -> None:
    job = start(work(command="sleep infinity & echo $! > child; wait"), folder, jobs)
    child = read_pid(tmp_path / "child")
    job.send_signal(number)
    assert job.wait(PATIENCE) == 128 + signal.SIGTERM
    wait_until(lambda: is_gone(child))
    assert find_state(folder, "target-content", 1) is None


def test_a_command_that_the_scheduler_tells_first_leaves_the_verdict_to_it_too(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    job = start(work(command="echo $$ > shell; sleep infinity"), folder, jobs)
    shell = read_pid(tmp_path / "shell")
    psutil.Process(shell.pid).terminate()
    wait_until(lambda: is_gone(shell))
    job.terminate()
    assert job.wait(PATIENCE) == 128 + signal.SIGTERM
    assert find_state(folder, "target-content", 1) is None


def test_a_command_that_ends_so_by_itself_has_failed(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    job = start(work(command="touch shell; kill $$"), folder, jobs)
    assert job.wait(PATIENCE) == 128 + signal.SIGTERM
    state = find_state(folder, "target-content", 1)
    assert state is not None
    assert state["rc"] == 128 + signal.SIGTERM


def test_a_command_that_will_not_end_is_killed_after_the_grace(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    command = "trap '' TERM; echo $$ > shell; while true; do sleep 1; done"
    job = start(work(command=command), folder, jobs, grace=0.5)
    shell = read_pid(tmp_path / "shell")
    job.terminate()
    assert job.wait(PATIENCE) == 128 + signal.SIGKILL
    wait_until(lambda: is_gone(shell))


@pytest.mark.parametrize("code", [0, 75])
def test_a_stopped_command_may_come_to_an_end_that_counts(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path, code: int
) -> None:
    command = f"trap 'exit {code}' TERM; echo $$ > shell; while true; do sleep 0.1 || true; done"
    job = start(work(command=command), folder, jobs)
    read_pid(tmp_path / "shell")
    job.terminate()
    assert job.wait(PATIENCE) == code
    state = find_state(folder, "target-content", 1)
    assert state is not None
    assert state["rc"] == code


def test_the_time_signal_reaches_who_catches_it_and_nobody_else(
    folder: Folder, work: Works, jobs: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    catcher = tmp_path / "catcher.py"
    catcher.write_text(
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75))\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    # The shell, and the sleep beside the catcher, would die of the signal.
    command = f"sleep infinity & code=0; {sys.executable} {catcher} > ready || code=$?; kill $!; exit $code"
    job = start(work(command=command), folder, jobs)
    wait_until(lambda: (tmp_path / "ready").exists() and (tmp_path / "ready").read_text())
    job.send_signal(signal.SIGUSR2)
    assert job.wait(PATIENCE) == 75


def test_a_job_ends_with_its_parent(folder: Folder, work: Works, tmp_path: Path) -> None:
    one = work(command="sleep infinity & echo $! > child; wait")
    command = [sys.executable, "-c", JOB, json.dumps(asdict(one)), str(folder.root), "20"]
    parent = subprocess.Popen([sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *command])
    child = read_pid(tmp_path / "child")
    parent.kill()
    parent.wait()
    wait_until(lambda: is_gone(child))


def test_environment_of_a_work_goes_over_the_processes(
    folder: Folder, work: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONE", "outer")
    monkeypatch.setenv("TWO", "outer")
    one = work(command='test "$ONE-$TWO" = inner-outer')
    assert Runner(Work(**{**asdict(one), "environment": {"ONE": "inner"}}), folder).run() == 0
    assert os.environ["ONE"] == "outer"
