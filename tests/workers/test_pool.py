"""Warm workers: order, isolation, attempts, limits, and that nothing outlives its parent."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harmony_core.errors import UserError
from harmony_core.host import host_name
from harmony_core.workers import Outcome, Task, WarmPool
from harmony_core.workers import children as children_module
from harmony_core.workers import pool as pool_module
from harmony_core.workers.exchange import probe_task
from harmony_core.workers.pool import LEAST_MEMORY_GB, even_share_gb
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]


def task(tmp_path: Path, name: str, function: str = "answer", cost: float = 0.0, **options: object) -> Task:
    limit = options.pop("time_limit_seconds", 60.0)
    payload = {"name": name, "record": str(tmp_path / f"{function}.txt"), **options}
    return Task(name, f"tests.workers.targets:{function}", payload, cost, float(str(limit)))


def run(tmp_path: Path, tasks: list[Task], **options: object) -> dict[str, list[Outcome]]:
    outcomes: dict[str, list[Outcome]] = {}
    warm = WarmPool(tmp_path / "logs", **options)
    warm.run(tasks, lambda outcome: outcomes.setdefault(outcome.task.key, []).append(outcome))
    return outcomes


@pytest.mark.parametrize(
    ("booked", "share"),
    [
        ({}, 4.0),
        ({"SLURM_MEM_PER_NODE": "4000"}, 4000 * 2**20 / 1e9 / 2),
        ({"SLURM_MEM_PER_CPU": "1000", "SLURM_CPUS_ON_NODE": "4"}, 4000 * 2**20 / 1e9 / 2),
        ({"SLURM_MEM_PER_NODE": "100"}, LEAST_MEMORY_GB),
        ({"SLURM_MEM_PER_NODE": "0"}, 4.0),
    ],
)
def test_a_share_is_of_what_the_job_has_and_torch_fits_in_it(
    booked: dict[str, str], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in booked.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 8 * 10**6}.__getitem__)
    monkeypatch.setattr("harmony_core.workers.pool.visible_gpus", list)
    assert even_share_gb(2) == pytest.approx(share)


def test_every_task_once_and_longest_first(tmp_path: Path) -> None:
    outcomes = run(tmp_path, [task(tmp_path, f"t{cost}", cost=cost) for cost in (1, 3, 2)], workers=1)
    assert (tmp_path / "answer.txt").read_text().split() == ["t3", "t2", "t1"]
    assert all(len(of_task) == 1 and of_task[0].result for of_task in outcomes.values())


def test_children_are_warm_and_have_their_threads(tmp_path: Path) -> None:
    # In a process of its own: a process has one forkserver, and other tests may have started it otherwise.
    code = (
        "import json, sys; from pathlib import Path; from tests.workers.test_pool import run, task\n"
        "folder = Path(sys.argv[1]); outcomes = run(folder, [task(folder, f't{i}') for i in range(4)], workers=2)\n"
        "print(json.dumps([of_task[0].result for of_task in outcomes.values()]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    results = json.loads(done.stdout.splitlines()[-1])
    assert {result["threads"] for result in results} == {1}
    # All that takes seconds to import is there when the child begins (benchmarks/worker_start.py times it).
    assert {tuple(result["warm"]) for result in results} == {("torch", "torch._dynamo")}


def test_a_dead_child_costs_itself_one_attempt(tmp_path: Path) -> None:
    outcomes = run(tmp_path, [task(tmp_path, "mortal", "die", deaths=1), task(tmp_path, "other")], workers=2)
    first, second = outcomes["mortal"]
    assert (first.final, first.result) == (False, None)
    assert second.result is not None
    assert second.result["attempt"] == 2
    assert outcomes["other"][0].result is not None


@pytest.mark.parametrize(("name", "attempts"), [("SIGKILL", 3), ("SIGTERM", 3), ("SIGSEGV", 2), ("SIGABRT", 2)])
def test_dying_twice_is_final_and_says_how(tmp_path: Path, name: str, attempts: int) -> None:
    """Who is killed from outside on the only node has a third try."""
    outcomes = run(tmp_path, [task(tmp_path, "mortal", "die", signal=name)])
    last = outcomes["mortal"][-1]
    assert (last.attempt, last.final, last.result) == (attempts, True, None)
    assert [outcome.counts for outcome in outcomes["mortal"]] == [True] * attempts
    assert f"signal {signal.Signals[name].value}" in (last.error or "")


def test_an_exception_is_told_by_its_last_line(tmp_path: Path) -> None:
    outcomes = run(tmp_path, [task(tmp_path, "wrong", "fail")], attempts=1)
    assert "RuntimeError: a mistake in wrong" in (outcomes["wrong"][0].error or "")


def test_a_child_that_hangs_is_killed_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children_module, "GRACE_SECONDS", 0.0)
    outcomes = run(tmp_path, [task(tmp_path, "stuck", "hang", time_limit_seconds=1.0), task(tmp_path, "other")])
    (stuck,) = outcomes["stuck"]
    assert (stuck.killed, stuck.final) == (True, True)
    assert outcomes["other"][0].result is not None


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("no_space", "No space left on device"),
        ("no_library", "ImportError"),
        ("no_compiler", "a-compiler-that-is-not-there"),
    ],
)
def test_an_error_of_the_machine_is_no_candidates_and_ends_it(tmp_path: Path, function: str, says: str) -> None:
    outcomes: list[Outcome] = []
    tasks = [task(tmp_path, "unlucky", function, cost=2.0), task(tmp_path, "other")]
    with pytest.raises(UserError, match=says) as raised:
        WarmPool(tmp_path / "logs", workers=1).run(tasks, outcomes.append)
    assert raised.value.field == "nodes left out"
    (lost,) = outcomes
    assert (lost.task.key, lost.counts, lost.final) == ("unlucky", False, False)
    assert lost.left_out is not None
    assert lost.left_out[0] == host_name()


def test_inodes_that_run_out_are_no_candidates_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real file system without inodes: the log itself cannot be made, and the error is told all the same."""
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=2,size=1m", "none", str(full)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this host lets nobody mount a file system")
    try:
        (full / "last").touch()
        outcomes: list[Outcome] = []
        with pytest.raises(UserError, match="No space left on device"):
            WarmPool(full).run([task(tmp_path, "a")], outcomes.append)
        assert [(outcome.counts, outcome.final) for outcome in outcomes] == [(False, False)]
        (full / "last").unlink()
        WarmPool(full).run([task(tmp_path, "a")], outcomes.append)
        assert outcomes[-1].result is not None
    finally:
        subprocess.run(["umount", str(full)], check=True)


@pytest.mark.parametrize("function", ["no_file", "no_module"])
def test_a_mistake_that_only_sounds_like_it_is_the_candidates(tmp_path: Path, function: str) -> None:
    outcomes = run(tmp_path, [task(tmp_path, "wrong", function)])
    assert [outcome.counts for outcome in outcomes["wrong"]] == [True, True]
    assert outcomes["wrong"][-1].final


def test_the_known_small_task_clears_this_machine_before_anybody_crashed(tmp_path: Path) -> None:
    """It is the real one, on this machine's device; two candidates at fault leave nothing out."""
    outcomes = run(tmp_path, [task(tmp_path, name, "fail") for name in ("a", "b")], workers=2)
    assert [outcomes[name][-1].final for name in ("a", "b")] == [True, True]
    assert [outcome.left_out for name in ("a", "b") for outcome in outcomes[name]] == [None] * 4
    assert (tmp_path / "logs" / "probe.log").exists()


def test_where_the_known_small_task_fails_nobody_crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = probe_task(tmp_path, "tests.workers.targets:unsound")
    monkeypatch.setattr(pool_module, "probe_task", lambda folder: broken)
    outcomes: list[Outcome] = []
    with pytest.raises(UserError, match=r"a known small task fails there too .*wrong product"):
        WarmPool(tmp_path / "logs").run([task(tmp_path, name, "fail") for name in "abc"], outcomes.append)
    assert outcomes
    assert not any(outcome.counts or outcome.final for outcome in outcomes)


def test_a_known_small_task_that_hangs_is_ended_at_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children_module, "GRACE_SECONDS", 0.0)
    payload = {"record": str(tmp_path / "hung"), "folder": str(tmp_path)}
    hangs = Task("probe", "tests.workers.targets:hang", payload, time_limit_seconds=1.0)
    monkeypatch.setattr(pool_module, "probe_task", lambda folder: hangs)
    with pytest.raises(UserError, match="killed at its time limit"):
        WarmPool(tmp_path / "logs").run([task(tmp_path, name, "fail") for name in "abc"], lambda outcome: None)


def test_the_forkservers_death_is_forgiven(tmp_path: Path) -> None:
    tasks = [task(tmp_path, "a", "hang", cost=2.0), task(tmp_path, "b")]
    deaths = []

    def on_outcome(outcome: Outcome) -> None:
        if outcome.task.key == "b" and not deaths:
            deaths.append("forkserver")
            os.kill(multiprocessing.forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        elif outcome.task.key == "a":
            deaths.append(outcome.error or "answered")
            assert not outcome.final
            assert not outcome.counts
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WarmPool(tmp_path / "logs", workers=2, attempts=1).run(tasks, on_outcome)
    assert deaths == ["forkserver", "the worker that forked it died"]


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.workers.test_pool import run, task\n"
        "folder = Path(sys.argv[1]); run(folder, [task(folder, 'stuck', 'hang')])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    record = tmp_path / "hang.txt"
    wait_until(lambda: record.exists() and record.read_text() != "")
    child = psutil.Process(int(record.read_text()))
    parent.kill()
    parent.wait()
    child.wait(timeout=PATIENCE)
    assert not child.is_running()
