"""The main process, its like and its surroundings: killed, doubled, interrupted, cancelled behind its back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.searches import ONE_RANK, SELECTION, TWO_NODES, Begin, RunningSearch, breed, command, copy_search
from tests.waiting import PATIENCE, SOON, wait_until
from tests.workflow.compare import tables
from tests.workflow.conftest import ROOT, harmony


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


def test_a_second_main_is_refused_and_told_who(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    search = begin()
    search.wait_until_training()
    # On a loaded machine the second one would start when all is done.
    job = search.job()
    cluster.run("scontrol", "suspend", job)
    second = subprocess.run(
        command(search.folder, SELECTION),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=cluster.environment,
        check=False,
    )
    cluster.run("scontrol", "resume", job)
    assert second.returncode != 0
    assert f"already run by pid {search.main.pid} on " in second.stdout + second.stderr
    search.ends_well(undisturbed)


def test_a_second_main_on_another_host_is_refused_too(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    elsewhere = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", 'hostname other && exec "$@"', "sh"]
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host lets nobody make another one (unshare)")
    search = begin()
    search.wait_until_training()
    # On a loaded machine the second one would start when all is done.
    job = search.job()
    cluster.run("scontrol", "suspend", job)
    call = [*elsewhere, *command(search.folder, SELECTION)]
    second = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env=cluster.environment, check=False)
    cluster.run("scontrol", "resume", job)
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
        assert search.main.wait(timeout=PATIENCE) == 0, search.said
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
        assert search.main.wait(timeout=PATIENCE) != 0
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
        wait_until(lambda: subprocess.run(["umount", str(disk)], capture_output=True).returncode == 0, "unmounted")


def fill(path: Path) -> None:
    """Writes until the file system is full."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_ctrl_c_leaves_nothing(begin: Begin, cluster: Cluster) -> None:
    search = begin()
    search.wait_until_training()
    os.killpg(search.main.pid, signal.SIGINT)
    search.main.wait(timeout=PATIENCE)
    wait_until(lambda: not search.processes(), "every process of the search is gone", SOON)
    wait_until(lambda: not cluster.run("squeue", "--noheader"), "Slurm has forgotten it", SOON)
