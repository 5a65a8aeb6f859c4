"""Whatever dies: the same results as an undisturbed run, no candidate recorded twice, none lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.daemon import wait_until
from tests.slurm.searches import (
    ONE_RANK,
    SELECTION,
    TWO_NODES,
    RunningSearch,
    breed,
    command,
    copy_search,
)
from tests.workflow.compare import tables
from tests.workflow.conftest import ROOT, harmony

Begin = Callable[..., RunningSearch]


@pytest.fixture(scope="module")
def bred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of six candidates, to be trained."""
    return breed(tmp_path_factory.mktemp("bred") / "search")


@pytest.fixture(scope="module")
def undisturbed(bred: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, trained on this machine without any fault."""
    folder = copy_search(bred, tmp_path_factory.mktemp("undisturbed") / "search")
    subprocess.run(command(folder, SELECTION, profile="local"), check=True, cwd=ROOT, capture_output=True)
    return folder


@pytest.fixture
def begin(bred: Path, undisturbed: Path, tmp_path: Path, cluster: Cluster) -> Iterator[Begin]:
    """Starts the search on two nodes of the cluster, up to its selection."""
    started: list[RunningSearch] = []

    def start(*arguments: str) -> RunningSearch:
        folder = copy_search(bred, tmp_path / "search")
        started.append(RunningSearch(folder, cluster.environment, SELECTION, *TWO_NODES, *arguments))
        return started[-1]

    yield start
    for search in started:
        search.stop()


def first(processes: list[psutil.Process]) -> psutil.Process:
    assert processes, "no such process"
    return processes[0]


def kill_rank(search: RunningSearch, cluster: Cluster) -> None:
    first(search.ranks()).kill()


def kill_forkserver(search: RunningSearch, cluster: Cluster) -> None:
    # Its children carry its command line: the oldest is the server.
    rank = first(search.ranks())
    servers = [one for one in rank.children() if "forkserver" in " ".join(one.cmdline())]
    min(servers, key=psutil.Process.create_time).kill()


def kill_srun(search: RunningSearch, cluster: Cluster) -> None:
    for process in search.processes("srun", "harmony_core.workers.rank"):
        process.kill()


def kill_batch_process(search: RunningSearch, cluster: Cluster) -> None:
    first(search.processes("submitit.core._submit")).kill()


def kill_step(search: RunningSearch, cluster: Cluster) -> None:
    first([one for one in search.processes("-m harmony_core run train") if "python" in one.name()]).kill()


def cancel_by_hand(search: RunningSearch, cluster: Cluster) -> None:
    cluster.run("scancel", search.job())


def other_node(search: RunningSearch) -> str:
    here = search.batch_node()
    return next(node for rank in search.ranks() if (node := _node_of(rank)) != here)


def _node_of(process: psutil.Process) -> str:
    return str(process.environ()["SLURMD_NODENAME"])


def set_other_node_down(search: RunningSearch, cluster: Cluster) -> None:
    cluster.node_down(other_node(search))


def set_batch_node_down(search: RunningSearch, cluster: Cluster) -> None:
    cluster.node_down(search.batch_node())


def kill_slurmd(search: RunningSearch, cluster: Cluster) -> None:
    cluster.kill_slurmd(other_node(search))


def lose_other_node(search: RunningSearch, cluster: Cluster) -> None:
    cluster.lose_node(other_node(search))


def lose_batch_node(search: RunningSearch, cluster: Cluster) -> None:
    cluster.lose_node(search.batch_node())


def requeue(search: RunningSearch, cluster: Cluster) -> None:
    cluster.run("scontrol", "requeue", search.job())


def restart_controller(search: RunningSearch, cluster: Cluster) -> None:
    cluster.restart_slurmctld()


@pytest.mark.parametrize(
    "strike",
    [
        kill_rank,
        kill_forkserver,
        kill_srun,
        kill_batch_process,
        kill_step,
        cancel_by_hand,
        set_other_node_down,
        set_batch_node_down,
        kill_slurmd,
        lose_other_node,
        lose_batch_node,
        requeue,
        restart_controller,
    ],
)
def test_struck(
    strike: Callable[[RunningSearch, Cluster], None], begin: Begin, cluster: Cluster, undisturbed: Path
) -> None:
    search = begin()
    search.wait_until_training()
    strike(search, cluster)
    search.ends_well(undisturbed)


def test_the_other_teams_go_on_when_a_node_is_lost(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    search = begin()
    search.wait_until_training()
    job = search.job()
    cluster.lose_node(other_node(search))
    search.ends_well(undisturbed)
    assert cluster.job_states(job) == ["COMPLETED"]
    assert search.said.count("Slurm job ") == 1, "the shard was not submitted again"


def test_a_stopped_rank_is_missed(begin: Begin, undisturbed: Path) -> None:
    search = begin()
    search.wait_until_training()
    rank = first(search.ranks())
    rank.suspend()
    try:
        search.wait_for(lambda: search.keys("death"), "the stopped rank's candidate is given back")
        search.ends_well(undisturbed)
    finally:
        if rank.is_running():
            rank.resume()


def test_the_main_process_is_killed_and_its_jobs_are_found_again(
    begin: Begin, undisturbed: Path, cluster: Cluster
) -> None:
    search = begin()
    search.wait_until_training()
    search.main.kill()
    search.main.wait()
    resumed = harmony(search.folder, "resume", "results/tiny", env=cluster.environment)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    search.check(undisturbed)
    assert "Slurm job" not in resumed.stdout + resumed.stderr, "the running job was found, not doubled"


def test_preemption_gives_the_signal_and_the_shard_goes_on(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    search = begin("--default-resources", "slurm_partition=spare", "runtime=60", "slurm_extra='--no-kill'")
    search.wait_until_training()
    cluster.submit("exit 0", "--partition=main", "--nodes=4", "--exclusive", "--signal=TERM@1")
    search.wait_for(lambda: search.keys("interruption"), "the trainings are told to leave")
    search.ends_well(undisturbed)
    assert not search.keys("death"), "leaving when told to is no death"


def test_the_signal_ahead_of_the_time_limit_reaches_every_rank(
    begin: Begin, cluster: Cluster, undisturbed: Path
) -> None:
    search = begin()
    search.wait_until_training()
    # As Slurm sends it ahead of the limit: to every process of the steps, and not to the batch process.
    cluster.run("scancel", "--signal=USR2", search.job())
    cluster.run("scontrol", "update", f"jobid={search.job()}", "timelimit=1")
    search.ends_well(undisturbed)
    assert not search.keys("death")
    assert search.said.count("Slurm job ") == 2, "what was left was submitted again, and no failure"


def test_a_second_main_is_refused_and_told_who(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    search = begin()
    search.wait_until_training()
    second = subprocess.run(
        command(search.folder, SELECTION),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=cluster.environment,
        check=False,
    )
    assert second.returncode != 0
    assert f"already run by pid {search.main.pid} on " in second.stdout + second.stderr
    search.ends_well(undisturbed)


def test_a_second_main_on_another_host_is_refused_too(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    elsewhere = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", 'hostname other && exec "$@"', "sh"]
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host lets nobody make another one (unshare)")
    search = begin()
    search.wait_until_training()
    call = [*elsewhere, *command(search.folder, SELECTION)]
    second = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env=cluster.environment, check=False)
    assert second.returncode != 0
    assert f"already run by pid {search.main.pid} on " in second.stdout + second.stderr
    search.ends_well(undisturbed)


def test_one_member_of_an_array_is_cancelled(tmp_path: Path, cluster: Cluster, undisturbed: Path) -> None:
    bred = breed(tmp_path / "bred", execution={"candidates_per_job": 3})
    search = RunningSearch(bred, cluster.environment, SELECTION, *ONE_RANK)
    try:
        search.wait_for(lambda: len(search.keys("begin")) >= 2, "both shards train")
        job = search.job()
        cluster.run("scancel", f"{job}_1")
        search.wait_for(lambda: "CANCELLED" in search.said, "the failure is told")
        assert search.main.wait(timeout=180) == 0, search.said
    finally:
        search.stop()
    left, right = (tables(folder / "results" / "tiny") for folder in (undisturbed, bred))
    selection = "generation=000/selection.parquet"
    assert left[selection].equals(right[selection])
    finals = search.keys("final")
    assert len(finals) == len(set(finals)) == 6


def test_a_full_disk_is_told_and_loses_nothing(bred: Path, undisturbed: Path, tmp_path: Path, cluster: Cluster) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    search = None
    try:
        folder = copy_search(bred, disk / "search")
        search = RunningSearch(folder, cluster.environment, SELECTION, *TWO_NODES, "--retries", "0")
        search.wait_until_training()
        ballast = disk / "ballast"
        fill(ballast)
        assert search.main.wait(timeout=120) != 0
        ballast.unlink()
        assert "No space left on device: free some space and run again" in search.said
        again = RunningSearch(folder, cluster.environment, SELECTION, *TWO_NODES)
        try:
            again.ends_well(undisturbed)
        finally:
            again.stop()
    finally:
        if search is not None:
            search.stop()
        wait_until(lambda: subprocess.run(["umount", str(disk)], capture_output=True).returncode == 0, "unmounted", 30)


def fill(path: Path) -> None:
    """Writes until the file system is full."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_ctrl_c_leaves_nothing(begin: Begin, cluster: Cluster) -> None:
    search = begin()
    search.wait_until_training()
    os.killpg(search.main.pid, signal.SIGINT)
    search.main.wait(timeout=60)
    wait_until(lambda: not search.processes(), "every process of the search is gone", 30)
    wait_until(lambda: not cluster.run("squeue", "--noheader"), "Slurm has forgotten it", 30)
