"""Slurm takes the machines away and says so ahead: trainings leave in time, and go on later."""

from __future__ import annotations

from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.searches import Begin


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
