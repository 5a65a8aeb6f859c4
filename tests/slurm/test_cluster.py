"""The test cluster does what other tests rely on: what Slurm does, not what this project does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.slurm import packages
from tests.slurm.accounting import ACCOUNT
from tests.slurm.cluster import Cluster
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
LOOP = "while :; do sleep 0.1; done"


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def is_running(pid: int) -> bool:
    try:
        # Empty where it has ended and nobody has waited for it.
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def restarts(cluster: Cluster, job: str) -> int:
    text = cluster.run("scontrol", "show", "job", job)
    return int(text.split("Restarts=")[1].split()[0])


def node_of(cluster: Cluster, job: str) -> str:
    return cluster.run("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()


def test_a_step_has_tasks_on_all_nodes(cluster: Cluster) -> None:
    nodes = cluster.run("srun", "--nodes=4", "--ntasks=8", "--ntasks-per-node=2", "printenv", "SLURMD_NODENAME")
    assert sorted(nodes.split()) == sorted(2 * cluster.nodes)


def test_each_task_has_its_own_gpu(cluster: Cluster) -> None:
    devices = cluster.run("srun", "--ntasks=8", "--gpus-per-task=1", "printenv", "ROCR_VISIBLE_DEVICES")
    assert sorted(devices.split()) == [str(index) for index in range(8)]


def test_more_gpus_than_a_node_has_are_refused(cluster: Cluster) -> None:
    refusal = cluster.try_run("sbatch", "--nodes=1", "--gpus-per-node=9", "--wrap=true")
    assert refusal.returncode == 1
    assert "Requested node configuration is not available" in refusal.stderr


def test_an_array_runs_every_member(cluster: Cluster, tmp_path: Path) -> None:
    job = cluster.submit(f"touch {tmp_path}/$SLURM_ARRAY_TASK_ID; [ $SLURM_ARRAY_TASK_ID != 3 ]", "--array=0-9")
    wait_until(lambda: set(cluster.job_states(job)) <= {"COMPLETED", "FAILED"}, "the array to end")
    assert cluster.job_states(job) == ["COMPLETED"] * 3 + ["FAILED"] + ["COMPLETED"] * 6
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(index) for index in range(10)]


@pytest.mark.slow
def test_a_preempted_job_is_warned_and_requeued(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    step = f"trap 'echo warned >> {log}' TERM; echo begin >> {log}; {LOOP}"
    spare = cluster.submit(f'srun bash -c "{step}"', "--partition=spare", "--nodelist=n1", "--exclusive")
    wait_until(lambda: lines_of(log) == ["begin"], "the step to begin")
    main = cluster.submit("true", "--nodelist=n1", "--exclusive")
    wait_until(lambda: lines_of(log) == ["begin", "warned"], "the warning")
    # While Slurm itself sends the signal the state of a job that runs on is another one.
    assert cluster.job_states(spare)[0] in ("RUNNING", "SIGNALING")
    cluster.wait_for_job(main, "COMPLETED")
    assert restarts(cluster, spare) == 1


@pytest.mark.slow
def test_a_job_of_a_node_that_is_set_down_runs_again_elsewhere(cluster: Cluster) -> None:
    job = cluster.submit(LOOP)
    cluster.wait_for_job(job, "RUNNING")
    first = node_of(cluster, job)
    cluster.node_down(first)
    cluster.wait_for_job(job, "PENDING")
    cluster.wait_for_job(job, "RUNNING")
    assert node_of(cluster, job) != first
    cluster.node_up(first)
    assert cluster.node_state(first) == "idle"


@pytest.mark.slow
def test_a_lost_node_takes_its_processes_with_it(cluster: Cluster) -> None:
    job = cluster.submit(f"srun bash -c '{LOOP}'", "--nodes=2", "--nodelist=n1,n2")
    wait_until(lambda: all(len(cluster.job_processes(name)) >= 2 for name in ("n1", "n2")), "tasks on both nodes")
    survivors = set(cluster.job_processes("n2"))
    cluster.lose_node("n1")
    assert cluster.job_processes("n1") == []
    assert survivors & set(cluster.job_processes("n2"))
    cluster.wait_for_node("n1", "down")
    cluster.wait_for_job(job, "PENDING")


def test_processes_outlive_a_killed_slurmd(cluster: Cluster) -> None:
    job = cluster.submit(LOOP, "--nodelist=n2")
    wait_until(lambda: len(cluster.job_processes("n2")) >= 2, "the job's processes")
    before = set(cluster.job_processes("n2"))
    cluster.kill_slurmd("n2")
    assert before & set(cluster.job_processes("n2"))
    cluster.node_up("n2")
    assert cluster.job_states(job) == ["RUNNING"]


def test_jobs_outlive_the_controller(cluster: Cluster) -> None:
    job = cluster.submit(LOOP)
    cluster.wait_for_job(job, "RUNNING")
    cluster.stop_slurmctld()
    assert cluster.try_run("scontrol", "ping").returncode != 0
    cluster.start_slurmctld()
    assert cluster.job_states(job) == ["RUNNING"]


def test_restore_undoes_everything(cluster: Cluster) -> None:
    running = cluster.submit(LOOP, "--nodes=3", "--exclusive")
    cluster.wait_for_job(running, "RUNNING")
    cluster.submit(LOOP, "--nodes=4")
    cluster.node_down("n1")
    cluster.kill_slurmd("n2")
    cluster.lose_node("n3")
    cluster.stop_slurmctld()
    cluster.restore()
    assert [cluster.node_state(name) for name in cluster.nodes] == ["idle"] * 4
    assert cluster.run("squeue", "--noheader") == ""
    assert cluster.job_processes() == []


def test_nothing_is_left_of_a_stopped_cluster(cluster: Cluster) -> None:
    other = Cluster(nodes=2, settings={"MaxArraySize": 5})
    try:
        other.start()
        refusal = other.try_run("sbatch", "--array=0-5", "--wrap=true")
        assert "Invalid job array specification" in refusal.stderr
        other.submit(f"setsid bash -c '{LOOP}' & {LOOP}")
        wait_until(lambda: len(other.job_processes()) >= 3, "the job's processes")
    finally:
        other.stop()
    assert not other.folder.exists()
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if str(other.folder) in command] == []
    assert cluster.node_state("n1") == "idle"


def test_a_daemon_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal\n"
        "from tests.slurm.daemon import Daemon\n"
        f"daemon = Daemon(['sleep', '600'], os.environ, pathlib.Path({str(tmp_path)!r}))\n"
        "daemon.start()\n"
        "daemon.wait_until(lambda: b'sleep' in pathlib.Path(f'/proc/{daemon.pid}/comm').read_bytes())\n"
        "print(daemon.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    wait_until(lambda: not is_running(int(killed.stdout)), "the daemon's end")


def test_a_daemon_that_cannot_start_is_shown_with_its_reason() -> None:
    broken = Cluster(nodes=1, settings={"SelectType": "select/absent"})
    try:
        with pytest.raises(RuntimeError, match="select/absent"):
            broken.start()
    finally:
        broken.stop()


def test_accounts_and_limits_hold(accounting_cluster: Cluster) -> None:
    unknown = accounting_cluster.try_run("sbatch", "--account=unknown", "--wrap=true")
    assert "Invalid account" in unknown.stderr
    accounting_cluster.run("sacctmgr", "--immediate", "modify", "account", ACCOUNT, "set", "MaxSubmitJobs=1")
    try:
        accounting_cluster.submit("sleep 60", f"--account={ACCOUNT}")
        refusal = accounting_cluster.try_run("sbatch", f"--account={ACCOUNT}", "--wrap=true")
        assert "AssocMaxSubmitJobLimit" in refusal.stderr
    finally:
        accounting_cluster.run("sacctmgr", "--immediate", "modify", "account", ACCOUNT, "set", "MaxSubmitJobs=-1")


def test_sacct_knows_an_ended_job(accounting_cluster: Cluster) -> None:
    job = accounting_cluster.submit("exit 3")
    accounting_cluster.wait_for_job(job, "FAILED")

    def accounted() -> str:
        return accounting_cluster.run("sacct", "-XPn", f"--jobs={job}", "--format=State,ExitCode").strip()

    wait_until(lambda: accounted() == "FAILED|3:0", "sacct to know the end")


def test_who_may_not_install_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    reason = packages.install({"slurm-absent": "slurm-absent"})
    assert reason == "Slurm for the tests: slurm-absent: not installed, and not root to install them"


def test_a_failed_installation_says_what_apt_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(100, command, stderr="Reading...\nE: Unable to fetch\n")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(subprocess, "run", refuse)
    reason = packages.install({"slurm-absent": "slurm-absent"})
    assert reason == "Slurm for the tests: slurm-absent: apt-get update failed: E: Unable to fetch"
