"""Whatever a machine or Slurm does: results as if undisturbed, no candidate recorded twice, none lost."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.searches import Begin, RunningSearch, Strike, kill_srun, strike_and_end_well


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
    "strike", [set_other_node_down, set_batch_node_down, kill_slurmd, lose_batch_node, requeue, restart_controller]
)
def test_struck(strike: Strike, begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    strike_and_end_well(strike, begin, cluster, undisturbed)


def test_srun_dies_when_a_node_is_lost_already(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    """The next srun asks for what is left; for more it would wait until the allocation's time is over."""
    search = begin()
    search.wait_until_training()
    # At once: of a node that crashes Slurm hears when the search is over.
    cluster.node_down(other_node(search))
    kill_srun(search, cluster)
    search.ends_well(undisturbed)
    assert search.said.count("Slurm job ") == 1, "the shard was not submitted again"


def test_the_other_teams_go_on_when_a_node_is_lost(begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    search = begin()
    search.wait_until_training()
    job = search.job()
    lose_other_node(search, cluster)
    search.ends_well(undisturbed)
    assert cluster.job_states(job) == ["COMPLETED"]
    assert search.said.count("Slurm job ") == 1, "the shard was not submitted again"
