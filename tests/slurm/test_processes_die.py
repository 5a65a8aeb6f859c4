"""Whatever process dies: results as if undisturbed, no candidate recorded twice, none lost."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.searches import Begin, RunningSearch, Strike, kill_srun, strike_and_end_well


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


def kill_batch_process(search: RunningSearch, cluster: Cluster) -> None:
    first(search.processes("submitit.core._submit")).kill()


def kill_step(search: RunningSearch, cluster: Cluster) -> None:
    first([one for one in search.processes("-m harmony_core run train") if "python" in one.name()]).kill()


def cancel_by_hand(search: RunningSearch, cluster: Cluster) -> None:
    cluster.run("scancel", search.job())


@pytest.mark.parametrize("strike", [kill_rank, kill_forkserver, kill_batch_process, kill_step, cancel_by_hand])
def test_struck(strike: Strike, begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    strike_and_end_well(strike, begin, cluster, undisturbed)


def test_a_killed_srun_costs_no_attempt(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    search = begin()
    search.wait_until_training()
    kill_srun(search, cluster)
    search.ends_well(undisturbed)
    assert not search.keys("death"), "its ranks died with it, and no candidate is to blame"


def test_a_stopped_rank_is_missed(begin: Begin, undisturbed: Path) -> None:
    search = begin()
    search.wait_until_training()
    rank = first(search.ranks())
    rank.suspend()
    try:
        search.wait_for(lambda: search.keys("death"), "the stopped rank's candidate is given back")
        (death,) = (record for record in search.journal() if record["event"] == "death")
        assert "no sign of life" in death["error"]
        assert death["device_seconds"] > 2
        search.ends_well(undisturbed)
    finally:
        if rank.is_running():
            rank.resume()
