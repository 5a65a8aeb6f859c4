"""The srun of an allocation, a stand-in that starts real ranks: restarted when it dies, ended when all is over."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harmony_core.errors import UserError
from harmony_core.slurm.job import parse_time, seconds_left, seconds_used
from harmony_core.workers import WorkInterrupted
from harmony_core.workers import teams as teams_module
from harmony_core.workers.address import ADDRESS_FILE
from harmony_core.workers.teams import Teams, split_flags
from tests.waiting import is_gone, wait_until
from tests.workers.allocation import ROOT, TARGETS, Feeding, child_of, task

# As srun does: one process a task; SIGTERM ends them by force, and its own SIGKILL leaves them behind.
SRUN = """#!/bin/bash
printf '%s ' "$@" >> "$FAKE/commands"; echo >> "$FAKE/commands"
echo $$ >> "$FAKE/sruns"
[ -z "$FAKE_FAILS" ] || { echo "no such partition" >&2; exit 1; }
while [[ $1 == --* ]]; do shift; done
trap 'kill -KILL $(jobs -p); exit 143' TERM
for ((local = 0; local < SLURM_NTASKS_PER_NODE; local++)); do
    SLURM_LOCALID=$local SLURM_NODEID=0 SLURMD_NODENAME=n0 "$@" & echo $! >> "$FAKE/ranks"
done
wait
"""
SQUEUE = """#!/bin/bash
echo "$*" >> "$FAKE/asked"
case "$*" in *%D*) echo "$FAKE_NODES";; *%M*) echo "$FAKE_USED";; *) echo "$FAKE_LEFT";; esac
"""
SCONTROL = """#!/bin/bash
[[ "$*" == "getaddrs $SLURMD_NODENAME" ]] && echo "$SLURMD_NODENAME: 127.0.0.1:6818"
"""


class Fake:
    """The stand-ins' folder: what they were told, and which processes they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, content in (("srun", SRUN), ("squeue", SQUEUE), ("scontrol", SCONTROL)):
            (folder / name).write_text(content)
            (folder / name).chmod(0o755)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def processes(self, name: str) -> list[psutil.Process]:
        """Those of them that live."""
        found = []
        for line in self.lines(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(line)))
        return [process for process in found if not is_gone(process)]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    folder = tmp_path / "fake"
    folder.mkdir()
    made = Fake(folder)
    variables = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "FAKE": str(folder),
        "FAKE_LEFT": "1-00:00:00",
        "FAKE_USED": "0:00",
        "FAKE_NODES": "1",
        "FAKE_FAILS": "",
        "SLURM_JOB_ID": "7",
        "SLURMD_NODENAME": "n0",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_CPUS_PER_TASK": "3",
        "SLURM_JOB_NUM_NODES": "2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # Teams of another test were no predecessors in this allocation.
    monkeypatch.setattr(Teams, "_others_were", False)
    # The ranks find the tests' functions here.
    monkeypatch.chdir(ROOT)
    yield made
    for name in ("sruns", "ranks"):
        for process in made.processes(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def teams(tmp_path: Path, fake: Fake) -> Callable[..., Teams]:
    def make(**options: object) -> Teams:
        options = {"beat_seconds": 0.2, "preload": TARGETS, **options}
        return Teams(tmp_path / "teams", **options)  # type: ignore[arg-type]

    return make


def test_one_srun_works_and_leaves_with_its_ranks(teams: Callable[..., Teams], fake: Fake, tmp_path: Path) -> None:
    with teams(srun_flags=("--gpus-per-task=1",)) as held:
        (outcome,) = Feeding(held.address, tmp_path, [task(tmp_path, "a")]).end()
        assert outcome.result is not None
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 4.0
    assert fake.processes("sruns") == []
    (command,) = fake.lines("commands")
    for flag in ("--kill-on-bad-exit=0", "--wait=0", "--no-kill", "--nodes=2", "--ntasks-per-node=1"):
        assert flag in command.split()
    assert "--cpus-per-task=3" in command
    assert "--gpus-per-task=1" in command
    assert not (tmp_path / "teams" / ADDRESS_FILE).exists()
    assert not held.failed.is_set()


def test_the_queue_listens_where_slurm_reaches_this_node(teams: Callable[..., Teams]) -> None:
    with teams() as held:
        assert held.address.hosts == ("127.0.0.1",)


def test_a_node_on_which_everything_dies_is_left_out_and_started_anew_in_vain(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Real ranks, and a known small task that fails like the candidates; nobody crashed."""
    with teams(probe=f"{TARGETS}:unsound") as held:
        feeding = Feeding(held.address, tmp_path, [task(tmp_path, key, "fail") for key in "abc"])
        with pytest.raises(UserError, match=r"nodes left out: n0: a known small task fails there too .*wrong product"):
            feeding.end()
        # Whoever comes later hears it too.
        with pytest.raises(UserError, match="nodes left out"):
            Feeding(held.address, tmp_path, [task(tmp_path, "d")]).end()
    assert feeding.outcomes
    assert not any(outcome.counts or outcome.final for outcome in feeding.outcomes)
    assert feeding.outcomes[0].left_out is not None
    said = capfd.readouterr().err
    assert "warning: nothing more is begun on n0: a known small task fails there too" in said
    assert len(fake.lines("sruns")) == 1


def test_an_srun_that_is_killed_is_started_again_at_no_attempts_cost(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with teams() as held:
        one = task(tmp_path, "a", "hold")
        feeding = Feeding(held.address, tmp_path, [one], attempts=1)
        child = child_of(tmp_path, "a")
        fake.processes("sruns")[0].kill()
        # Its rank, which outlived it, is sent away.
        wait_until(lambda: is_gone(child), "the old child to end")
        Path(one.payload["gate"]).touch()
        lost, answered = feeding.end()
        assert (lost.error, lost.counts) == ("srun ended with -9", False)
        assert answered.result == {"attempt": 1}
    first, second = fake.lines("commands")
    # The first waits for every node; the next takes what is left of them, and asks for no more tasks than that holds.
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1 " in first
    assert "--nodes=1 --ntasks=1 --ntasks-per-node=1 " in second
    assert "srun ended with -9, before the work did" in capfd.readouterr().err


def test_ranks_that_die_with_their_srun_cost_no_attempt(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path
) -> None:
    """slurmstepd kills them as soon as srun is gone, so that their end may be known before srun's."""
    with teams() as held:
        one = task(tmp_path, "a", "hold")
        feeding = Feeding(held.address, tmp_path, [one], attempts=1)
        child_of(tmp_path, "a")
        with held._lock:
            # As slow as can be in noticing.
            fake.processes("sruns")[0].kill()
            fake.processes("ranks")[0].kill()
            wait_until(lambda: held._server.num_ranks == 0, "the rank's end to be known")
        Path(one.payload["gate"]).touch()
        lost, answered = feeding.end()
        assert (lost.counts, lost.final) == (False, False)
        assert "is gone" in (lost.error or "")
        assert answered.result == {"attempt": 1}


def test_too_few_ranks_for_a_team_are_started_anew(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    with teams(team_size=2, silence_seconds=2.0) as held:
        assert Feeding(held.address, tmp_path, [task(tmp_path, "a")]).end()[-1].result
        fake.processes("ranks")[1].kill()
        wait_until(lambda: held._server.num_ranks == 1, "the loss to be noticed")
        assert Feeding(held.address, tmp_path, [task(tmp_path, "b")]).end()[-1].result
    assert len(fake.lines("sruns")) == 2


def test_a_stopped_rank_holds_up_neither_work_nor_leaving(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teams_module, "_GOODBYE_SECONDS", 0.5)
    with teams(silence_seconds=2.0) as held:
        assert Feeding(held.address, tmp_path, [task(tmp_path, "a")]).end()[-1].result
        (stopped,) = fake.processes("ranks")
        stopped.suspend()
        # It was the only one: srun, which waits for it, is ended and started again.
        assert Feeding(held.address, tmp_path, [task(tmp_path, "b")]).end()[-1].result
        wait_until(lambda: is_gone(stopped), "the stopped rank to be killed")
        (second,) = fake.processes("ranks")
        second.suspend()
    assert fake.processes("sruns") == []
    # A signal that kills is not yet a death.
    wait_until(lambda: fake.processes("ranks") == [], "the second rank to be killed")
    assert len(fake.lines("sruns")) == 2


def test_slurms_signal_drains_by_the_controllers_clock(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LEFT", "16")
    with teams() as held:
        feeding = Feeding(held.address, tmp_path, [task(tmp_path, "a", "checkpoint")], attempts=1)
        child_of(tmp_path, "a")
        os.kill(fake.processes("ranks")[0].pid, signal.SIGUSR2)
        held.wait()
        assert held.drained.is_set()
        with pytest.raises(WorkInterrupted):
            feeding.end()
    assert [outcome.error for outcome in feeding.outcomes] == ["interrupted"]
    assert fake.lines("asked") == ["--noheader --format=%M --jobs=7", "--noheader --format=%L --jobs=7"]
    assert not held.failed.is_set()


def test_an_srun_that_never_works_is_given_up(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "yes")
    with teams() as held:
        with pytest.raises(WorkInterrupted):
            Feeding(held.address, tmp_path, [task(tmp_path, "a")]).end()
        held.wait()
        assert held.failed.is_set()
        assert held.failure == "no attempt ended in 3 starts of srun; at last, srun ended with 1"
        # Whoever comes later is not left waiting either.
        with pytest.raises(WorkInterrupted):
            Feeding(held.address, tmp_path, [task(tmp_path, "b")]).end()
    assert len(fake.lines("sruns")) == 3
    assert "no such partition" in held.log.read_text()


def test_a_machine_without_srun_is_said_and_not_waited_for(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fake.folder / "srun").unlink()
    monkeypatch.setenv("PATH", str(fake.folder))
    with teams() as held:
        with pytest.raises(WorkInterrupted):
            Feeding(held.address, tmp_path, [task(tmp_path, "a")]).end()
        assert held.failure.startswith("srun does not start: ")


def test_leaving_while_srun_starts_leaves_nothing(teams: Callable[..., Teams], fake: Fake) -> None:
    began = time.monotonic()
    for _ in range(3):
        with teams():
            pass
    # Nobody is there yet who could hear a goodbye.
    assert time.monotonic() - began < 10.0
    assert fake.processes("sruns") == []
    assert [thread for thread in threading.enumerate() if thread.name in ("srun", "queue")] == []


def test_outside_a_job_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match="not inside a Slurm job"):
        Teams(tmp_path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("16", 16), ("0:00", 0), ("59:01", 3541), ("2:00:00", 7200), ("1-02:03:04", 93784)]
)
def test_slurms_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("answer", ["UNLIMITED", "INVALID", "", "NOT_SET"])
def test_an_unknown_time_is_a_short_one(fake: Fake, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setenv("FAKE_LEFT", answer)
    assert seconds_left() == 60.0


def test_staging_is_the_first_attempts_of_the_first_teams(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the controller's clock; what comes after has the seconds of its child alone."""
    monkeypatch.setenv("FAKE_USED", "10:00:00")
    charged = []
    for names in ("ab", "c"):
        with teams() as held:
            feeding = Feeding(held.address, tmp_path, [task(tmp_path, name, "echo") for name in names], attempts=1)
            feeding.end()
        charged += [outcome.device_seconds for outcome in feeding.outcomes]
    assert 36_000.0 < charged[0] < 37_000.0
    assert max(charged[1:]) < 1_000.0


@pytest.mark.parametrize("answer", ["INVALID", ""])
def test_an_unknown_age_is_none(fake: Fake, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setenv("FAKE_USED", answer)
    assert seconds_used() == 0.0


def test_no_squeue_is_an_unknown_time(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fake.folder / "nowhere"))
    assert seconds_left() == 60.0


def test_flags_are_split_as_a_shell_does() -> None:
    assert split_flags("--gpu-bind=closest --comment='two words'") == ("--gpu-bind=closest", "--comment=two words")
    with pytest.raises(UserError, match="close the quotes"):
        split_flags("--comment='open")


def test_another_python_may_be_named(
    teams: Callable[..., Teams], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment that was unpacked on each node's own disk."""
    copy = tmp_path / "python"
    copy.write_text(f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    copy.chmod(0o755)
    monkeypatch.setenv("HARMONY_PYTHON", str(copy))
    with teams() as held:
        assert Feeding(held.address, tmp_path, [task(tmp_path, "a")]).end()[-1].result
    assert f" {copy} -u -m harmony_core.workers" in fake.lines("commands")[0]
