"""The agent in processes of its own, as submitit would run it, against a session's files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from snakemake_executor_plugin_submitit.backend import TRY_AGAIN, Work
from snakemake_executor_plugin_submitit.folder import Folder, find_state, read_json
from snakemake_executor_plugin_submitit.pilot.inbox import Job
from snakemake_executor_plugin_submitit.pilot.session import Orders, Session
from tests.waiting import PATIENCE, wait_until

AGENT = """
import json, sys
from pathlib import Path
from snakemake_executor_plugin_submitit.backend import Work
from snakemake_executor_plugin_submitit.folder import Folder
from snakemake_executor_plugin_submitit.pilot.agent import Allocation
work, folder, session, idle_seconds = json.loads(sys.argv[1])
Allocation(Work(**work), Folder(Path(folder)), Path(session), idle_seconds)()
"""


class Pilot:
    """A session and its agents."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = Folder(root / "submitit")
        self.folder.make()
        self.session = Session(self.folder.pilot / "s")
        self.session.make()
        self.agents: list[subprocess.Popen[bytes]] = []

    def work(self, key: str, command: str, attempt: int = 1, cwd: str = "") -> Work:
        return Work(key=key, rule="rule", name=key, command=command, cwd=cwd or str(self.root), attempt=attempt)

    def hand_over(self, **commands: str) -> None:
        self.session.inbox.hand_over([self.work(key, command) for key, command in commands.items()])

    def start(self, companion: str = "", name: str = "pilot-s-1", idle_seconds: float = 20) -> subprocess.Popen[bytes]:
        work = self.work(name, companion)
        plan = json.dumps([work.__dict__, str(self.folder.root), str(self.session.root), idle_seconds])
        process = subprocess.Popen([sys.executable, "-c", AGENT, plan], stdout=subprocess.DEVNULL)
        self.agents.append(process)
        return process

    def state(self, key: str, attempt: int = 1) -> dict[str, object]:
        state = find_state(self.folder, key, attempt)
        assert state is not None
        return state

    def ended(self, key: str) -> bool:
        return find_state(self.folder, key, 1) is not None

    def last_words(self) -> str:
        return str(self.session.last_words("pilot-s-1"))

    def wait_for(self, *names: str) -> None:
        wait_until(lambda: all((self.root / name).exists() for name in names))

    def processes(self) -> list[psutil.Process]:
        """Whatever still runs with this test's folder as its working directory."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.cwd() == str(self.root):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


@pytest.fixture
def pilot(tmp_path: Path) -> Iterator[Pilot]:
    pilot = Pilot(tmp_path)
    yield pilot
    for agent in pilot.agents:
        if agent.poll() is None:
            agent.kill()
        agent.wait()
    wait_until(lambda: not pilot.processes())


def no_more(pilot: Pilot) -> None:
    pilot.session.command(Orders(more=False))


def test_it_runs_what_is_in_the_inbox_and_ends(pilot: Pilot) -> None:
    pilot.hand_over(a="echo said so", b="sleep 0.5")
    no_more(pilot)

    agent = pilot.start(companion="sleep infinity")

    assert agent.wait(PATIENCE) == 0
    assert pilot.state("a")["rc"] == pilot.state("b")["rc"] == 0
    assert pilot.state("a")["tail"] == "said so"
    assert not pilot.session.inbox.content().jobs
    assert pilot.last_words().startswith("drained")
    assert pilot.state("pilot-s-1")["rc"] == 0


def test_it_ends_in_the_moment_its_last_job_does(pilot: Pilot) -> None:
    """Until then all its nodes idle; the best of three, as this machine may be busy."""
    latencies = []
    for number in range(3):
        pilot.hand_over(**{f"job{number}": "sleep 0.5; date +%s%N > end"})
        no_more(pilot)
        pilot.start(companion="sleep infinity", name=f"pilot-s-{number}").wait(PATIENCE)
        latencies.append(time.time() - int((pilot.root / "end").read_text()) / 1e9)
    assert min(latencies) < 0.3


def test_it_runs_jobs_that_come_later(pilot: Pilot) -> None:
    agent = pilot.start()
    pilot.hand_over(first="true")
    wait_until(lambda: pilot.ended("first"))
    pilot.hand_over(second="true")
    wait_until(lambda: pilot.ended("second"))
    assert agent.poll() is None, "more may come"
    no_more(pilot)
    assert agent.wait(PATIENCE) == 0


def test_jobs_and_companion_share_a_folder_that_nobody_else_may_enter(pilot: Pilot) -> None:
    find = 'until [ -e "$SNAKEMAKE_PILOT_FOLDER/address" ]; do sleep 0.02; done; '
    pilot.hand_over(a=find + 'stat -c %a "$SNAKEMAKE_PILOT_FOLDER"; cat "$SNAKEMAKE_PILOT_FOLDER/address"')
    no_more(pilot)

    agent = pilot.start(companion='echo here > "$SNAKEMAKE_PILOT_FOLDER/address"; sleep infinity')

    assert agent.wait(PATIENCE) == 0
    assert pilot.state("a")["tail"] == "700\nhere"


def test_a_failure_holds_the_allocation_until_snakemake_has_decided(pilot: Pilot) -> None:
    pilot.hand_over(a="exit 3")
    no_more(pilot)
    agent = pilot.start(idle_seconds=1000)
    wait_until(lambda: pilot.session.inbox.content().failed)
    assert pilot.state("a")["rc"] == 3
    with pytest.raises(subprocess.TimeoutExpired):
        agent.wait(0.5)

    pilot.session.inbox.hand_over([pilot.work("a", "true", attempt=2)])
    pilot.session.inbox.remove(Job("a", 1))

    assert agent.wait(PATIENCE) == 0
    assert pilot.state("a", attempt=2)["rc"] == 0


def test_nothing_to_do_and_no_word_of_more_ends_it(pilot: Pilot) -> None:
    agent = pilot.start(idle_seconds=1.0)
    for beat in range(20):
        pilot.session.command(Orders(more=True, beat=beat))
        time.sleep(0.1)
    assert agent.poll() is None, "the main process lived for twice idle_seconds"

    started = time.monotonic()
    assert agent.wait(PATIENCE) == 0
    assert time.monotonic() - started < 10
    assert pilot.last_words().startswith("idle")


def test_a_job_that_cannot_be_started_is_a_failure_of_its_own(pilot: Pilot) -> None:
    pilot.session.inbox.hand_over([pilot.work("a", "true", cwd="/no/such/folder"), pilot.work("b", "true")])
    no_more(pilot)
    pilot.start(idle_seconds=0.5).wait(PATIENCE)
    assert pilot.state("a")["rc"] == 126
    assert "/no/such/folder" in str(pilot.state("a")["tail"])
    assert pilot.state("b")["rc"] == 0


def test_a_companion_that_crashes_is_started_once_more(pilot: Pilot) -> None:
    pilot.hand_over(a="until [ -e second ]; do sleep 0.02; done")
    no_more(pilot)
    agent = pilot.start(companion="if [ -e first ]; then touch second; sleep infinity; fi; touch first; exit 9")
    assert agent.wait(PATIENCE) == 0
    assert pilot.state("a")["rc"] == 0


def test_a_companion_that_crashes_twice_ends_the_allocation_with_its_words(pilot: Pilot) -> None:
    pilot.hand_over(a="touch a; sleep infinity")
    agent = pilot.start(companion="until [ -e a ]; do sleep 0.02; done; echo no such fabric; exit 9")
    assert agent.wait(PATIENCE) == 1
    assert pilot.session.inbox.content().jobs == {Job("a", 1)}
    assert not pilot.ended("a")
    assert "exit code 9: no such fabric" in pilot.last_words()
    assert not pilot.ended("pilot-s-1"), "whether it was requeued is for Slurm to say"


def test_a_companion_that_leaves_lets_the_running_jobs_leave_too(pilot: Pilot) -> None:
    pilot.hand_over(a=f"touch a; until [ -e left ]; do sleep 0.02; done; exit {TRY_AGAIN}")
    agent = pilot.start(companion="echo $$ > companion; until [ -e leave ]; do sleep 0.02; done")
    pilot.wait_for("a", "companion")
    wait_until((pilot.root / "companion").read_text)
    companion = int((pilot.root / "companion").read_text())
    (pilot.root / "leave").touch()
    # Its process is there until the agent has asked how it ended.
    wait_until(lambda: not psutil.pid_exists(companion))
    pilot.hand_over(late="touch late")
    (pilot.root / "left").touch()

    assert agent.wait(PATIENCE) == 0
    assert pilot.last_words().startswith("time")
    assert not pilot.ended("pilot-s-1"), "a lost node may be what made it leave"
    assert pilot.state("a")["rc"] == TRY_AGAIN
    assert not (pilot.root / "late").exists()
    assert Job("late", 1) in pilot.session.inbox.content().jobs


def test_the_time_limits_signal_reaches_the_companion(pilot: Pilot) -> None:
    pilot.hand_over(a="until [ -e warned ]; do sleep 0.02; done")
    agent = pilot.start(companion="trap 'touch warned; exit 0' USR2; touch ready; while :; do sleep 0.05; done")
    pilot.wait_for("ready")
    agent.send_signal(signal.SIGUSR2)
    assert agent.wait(PATIENCE) == 0
    assert pilot.last_words().startswith("time")
    assert pilot.state("a")["rc"] == 0


def test_sigterm_ends_everything_and_leaves_the_jobs_in_the_inbox(pilot: Pilot) -> None:
    pilot.hand_over(a="touch a; sleep infinity", b="trap 'exit 0' TERM; touch b; sleep infinity & wait")
    agent = pilot.start(companion="touch c; sleep infinity")
    pilot.wait_for("a", "b", "c")

    agent.send_signal(signal.SIGTERM)

    assert agent.wait(PATIENCE) == 128 + signal.SIGTERM
    assert not pilot.processes()
    assert pilot.session.inbox.content().jobs == {Job("a", 1)}
    assert not pilot.ended("a")
    assert pilot.state("b")["rc"] == 0, "it used its grace"
    assert not pilot.ended("pilot-s-1"), "whether it was requeued is for Slurm to say"


def test_slurms_signal_to_a_command_is_not_its_failure(pilot: Pilot) -> None:
    """slurmstepd sends it to every process of the batch step, in any order."""
    pilot.hand_over(a="echo $$ > a; sleep infinity")
    agent = pilot.start()
    wait_until(lambda: (pilot.root / "a").exists() and (pilot.root / "a").read_text())
    process = psutil.Process(int((pilot.root / "a").read_text()))
    process.terminate()
    wait_until(lambda: not process.is_running())
    time.sleep(0.2)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(PATIENCE) == 128 + signal.SIGTERM
    assert not pilot.ended("a")
    assert pilot.session.inbox.content().jobs == {Job("a", 1)}


def test_what_a_full_disk_does_not_take_is_written_later(pilot: Pilot) -> None:
    pilot.hand_over(a="mv submitit/state submitit/full; touch submitit/state a")
    no_more(pilot)
    agent = pilot.start()
    pilot.wait_for("a")
    with pytest.raises(subprocess.TimeoutExpired):
        agent.wait(0.5)
    pilot.folder.states.unlink()
    (pilot.root / "submitit/full").rename(pilot.folder.states)
    assert agent.wait(PATIENCE) == 0
    assert pilot.state("a")["rc"] == 0


@pytest.mark.parametrize("removed", ["inbox", "owner.json"])
def test_what_is_removed_under_an_agent_ends_nothing(pilot: Pilot, removed: str) -> None:
    pilot.hand_over(a="touch a; until [ -e go ]; do sleep 0.02; done")
    agent = pilot.start()
    pilot.wait_for("a")
    path = pilot.session.root / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    wait_until(path.exists)
    assert agent.poll() is None
    (pilot.root / "go").touch()
    wait_until(lambda: pilot.ended("a"))
    assert pilot.state("a")["rc"] == 0
    no_more(pilot)
    assert agent.wait(PATIENCE) == 0


def test_an_agent_whose_meeting_place_is_removed_says_so_and_leaves_its_jobs(pilot: Pilot) -> None:
    pilot.hand_over(a="touch a; sleep infinity")
    agent = pilot.start()
    pilot.wait_for("a")
    (run,) = (pilot.session.root / "runs").iterdir()
    shutil.rmtree(run)
    assert agent.wait(PATIENCE) == 128 + signal.SIGTERM
    ending = pilot.session.ending(run.name)
    assert ending is not None
    assert str(ending) == f"vanished: {run} has been removed"
    assert pilot.session.inbox.content().jobs == {Job("a", 1)}


def test_a_withdrawn_job_ends_and_the_others_go_on(pilot: Pilot) -> None:
    pilot.hand_over(a="touch a; sleep infinity", b="touch b; until [ -e go ]; do sleep 0.02; done", c="touch c")
    pilot.session.inbox.withdraw(Job("c", 1))
    no_more(pilot)
    agent = pilot.start()
    pilot.wait_for("a", "b")
    pilot.session.inbox.withdraw(Job("a", 1))
    wait_until(lambda: Job("a", 1) in pilot.session.inbox.content().failed)
    assert not pilot.ended("a")
    (pilot.root / "go").touch()
    wait_until(lambda: pilot.ended("b"))
    assert agent.poll() is None, "what takes its place may come"
    for key in ("a", "c"):
        pilot.session.inbox.remove(Job(key, 1))
    assert agent.wait(PATIENCE) == 0
    assert pilot.state("b")["rc"] == 0
    assert not (pilot.root / "c").exists()
    assert not list(pilot.session.inbox.root.iterdir())


def test_nothing_outlives_a_killed_agent_and_the_next_one_runs_its_jobs(pilot: Pilot) -> None:
    pilot.hand_over(a="echo x >> starts; touch a; [ $(wc -l < starts) = 2 ] || sleep infinity")
    first = pilot.start(companion="sleep infinity")
    pilot.wait_for("a")

    first.kill()
    wait_until(lambda: not [process for process in pilot.processes() if process.pid != first.pid])
    no_more(pilot)
    second = pilot.start(name="pilot-s-2")

    assert second.wait(PATIENCE) == 0
    assert pilot.state("a")["rc"] == 0
    assert (pilot.root / "starts").read_text() == "x\nx\n"


def test_an_agent_that_was_replaced_ends_before_the_next_one_runs_its_jobs(pilot: Pilot) -> None:
    """As after a node that Slurm gave up and that lived on: the job is requeued, and runs twice for a moment."""
    job = "mkdir lock || touch overlap; trap 'rmdir lock' EXIT; touch a; until [ -e go ]; do sleep 0.02; done"
    pilot.hand_over(a=job)
    first = pilot.start(companion="sleep infinity")
    pilot.wait_for("a")
    (pilot.root / "a").unlink()

    second = pilot.start()
    pilot.wait_for("a")

    assert first.wait(PATIENCE) == 128 + signal.SIGTERM
    assert not pilot.ended("pilot-s-1"), "the allocation lives on"
    no_more(pilot)
    (pilot.root / "go").touch()
    assert second.wait(PATIENCE) == 0
    assert pilot.state("a")["rc"] == 0
    assert not (pilot.root / "overlap").exists()


def test_an_end_whose_last_step_is_missing_is_not_run_again(pilot: Pilot) -> None:
    pilot.hand_over(a="touch ran")
    pilot.folder.state("a", 1).write_text(json.dumps({"rc": 0}))
    no_more(pilot)
    assert pilot.start().wait(PATIENCE) == 0
    assert not (pilot.root / "ran").exists()
    assert not pilot.session.inbox.content().jobs


def test_an_allocation_that_is_requeued_after_its_end_does_nothing(pilot: Pilot) -> None:
    pilot.folder.state("pilot-s-1", 1).write_text(json.dumps({"rc": 0}))
    assert pilot.start(companion="touch ran").wait(PATIENCE) == 0
    assert not (pilot.root / "ran").exists()
    assert read_json(pilot.session.root / "owner.json") is None
