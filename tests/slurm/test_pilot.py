"""The standing allocation on a real Slurm: time limits, requeues, lost nodes, and what is left of it afterwards."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.pilot_workflow import PilotWorkflow, read_until, rule
from tests.slurm.cluster import Cluster
from tests.waiting import PATIENCE, wait_until

# One task a node; `left` tells the jobs that the tasks have left, as harmony's teams do through their sockets.
COMPANION = (
    'srun --overlap bash -c \'trap "touch $SNAKEMAKE_PILOT_FOLDER/left; exit 0" USR2; touch companion.$SLURM_PROCID; '
    "while :; do sleep 0.1; done'"
)
# A job that goes on until `go` is there, leaves with the companion, and notes if two of it run at once.
JOB = (
    "exec 9> lock; flock -n 9 || touch overlap; echo $SLURM_JOB_ID $SLURMD_NODENAME >> starts; "
    "until [ -e go ]; do [ ! -e $SNAKEMAKE_PILOT_FOLDER/left ] || exit 75; sleep 0.1 9>&-; done; touch {output}"
)


@pytest.fixture
def workflow(cluster: Cluster, tmp_path: Path) -> Iterator[PilotWorkflow]:
    workflow = PilotWorkflow(tmp_path, "nodes=2 tasks_per_node=1 runtime=60", cluster.environment)
    workflow.write(rule("a", "a", JOB), targets='"a"')
    yield workflow
    # Shown beside a failure.
    print(cluster.run("squeue", "--states=all", "--format=%i %j %T %r %S %N"))
    print(cluster.run("sinfo", "--Node", "--long"))
    workflow.close()


def starts(workflow: PilotWorkflow) -> list[list[str]]:
    """Allocation and node of each start of the job."""
    path = workflow.root / "starts"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def finish(workflow: PilotWorkflow, cluster: Cluster) -> None:
    """Let the job end, and check that all is well and everything was given back."""
    (workflow.root / "go").touch()
    output, _ = workflow.mains[-1].communicate(timeout=PATIENCE)
    assert workflow.mains[-1].returncode == 0, output
    assert not workflow.exists("overlap")
    wait_until(lambda: not cluster.run("squeue", "--noheader"))


def test_it_spans_its_nodes_and_is_given_back(workflow: PilotWorkflow, cluster: Cluster) -> None:
    workflow.start(companion=COMPANION)
    wait_until(lambda: workflow.exists("companion.0", "companion.1", "starts"))
    finish(workflow, cluster)
    (job_id,) = workflow.allocations()
    assert cluster.job_states(job_id) == ["COMPLETED"]


def test_a_successor_waits_in_the_queue_and_goes_on_when_time_is_up(workflow: PilotWorkflow, cluster: Cluster) -> None:
    workflow.start("--submitit-pilot-chain", "true", companion=COMPANION)
    wait_until(lambda: workflow.exists("companion.0", "starts"))
    wait_until(lambda: len(workflow.allocations()) == 2)
    first, second = workflow.allocations()
    assert cluster.job_states(second) == ["PENDING"]

    # To the job's steps, and not to the batch process: as Slurm does ahead of the time limit.
    cluster.run("scancel", "--signal=USR2", first)

    wait_until(lambda: len(starts(workflow)) == 2)
    assert [job_id for job_id, _ in starts(workflow)] == [first, second]
    wait_until(lambda: len(workflow.allocations()) == 3)
    finish(workflow, cluster)


def test_scancel_of_the_allocation_costs_time_only(workflow: PilotWorkflow, cluster: Cluster) -> None:
    workflow.start(companion=COMPANION)
    wait_until(lambda: workflow.exists("companion.0", "starts"))
    cluster.run("scancel", *workflow.allocations())
    wait_until(lambda: len(starts(workflow)) == 2)
    finish(workflow, cluster)
    assert len(workflow.allocations()) == 2


def test_a_requeued_allocation_is_followed(workflow: PilotWorkflow, cluster: Cluster) -> None:
    workflow.start(companion=COMPANION)
    wait_until(lambda: workflow.exists("companion.0", "starts"))
    cluster.run("scontrol", "requeue", *workflow.allocations())
    wait_until(lambda: len(starts(workflow)) == 2)
    finish(workflow, cluster)
    assert len(workflow.allocations()) == 1


def test_a_batch_node_set_down_lives_on_and_does_no_harm(workflow: PilotWorkflow, cluster: Cluster) -> None:
    """Slurm requeues the allocation and leaves its processes on that node alone."""
    workflow.start(companion=COMPANION)
    wait_until(lambda: workflow.exists("companion.0", "starts"))
    ((_, node),) = starts(workflow)
    cluster.node_down(node)
    wait_until(lambda: len(starts(workflow)) == 2)
    finish(workflow, cluster)
    assert starts(workflow)[1][1] != node
    assert len(workflow.allocations()) == 1


@pytest.mark.slow
def test_the_batch_node_is_lost(workflow: PilotWorkflow, cluster: Cluster) -> None:
    workflow.start(companion=COMPANION)
    wait_until(lambda: workflow.exists("companion.0", "starts"))
    ((_, node),) = starts(workflow)
    cluster.lose_node(node)
    wait_until(lambda: len(starts(workflow)) == 2)
    finish(workflow, cluster)


def test_a_killed_main_finds_its_allocation_again(workflow: PilotWorkflow, cluster: Cluster) -> None:
    main = workflow.start(companion=COMPANION)
    wait_until(lambda: workflow.exists("companion.0", "starts"))
    workflow.kill(main)
    read_until(workflow.start(companion=COMPANION), "submitted by an earlier Snakemake process; waiting for that")
    finish(workflow, cluster)
    assert len(starts(workflow)) == len(workflow.allocations()) == 1


def test_an_interrupted_main_leaves_nothing_in_the_queue(workflow: PilotWorkflow, cluster: Cluster) -> None:
    main = workflow.start("--submitit-pilot-chain", "true", companion=COMPANION)
    wait_until(lambda: workflow.exists("companion.0", "starts"))
    main.send_signal(signal.SIGINT)
    main.communicate(timeout=PATIENCE)
    wait_until(lambda: not cluster.run("squeue", "--noheader"))
    wait_until(lambda: not workflow.processes())


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        ("slurm_partition=nowhere", "Slurm refuses the job: .*invalid partition.* slurm_partition"),
        ("gpus_per_node=99", "Slurm refuses the job: .*gpus"),
        # Slurm says the one or the other, by whether it looks at the partition's limits or at its nodes first.
        ("nodes=9", r"Slurm will never start it: Partition(NodeLimit .*nodes|Config .*a resource) is beyond"),
    ],
)
def test_an_allocation_that_slurm_will_never_give_is_asked_for_once(
    workflow: PilotWorkflow, cluster: Cluster, resource: str, words: str
) -> None:
    code, output = workflow.run("--submitit-pilot-resources", f"runtime=60 {resource}")
    assert code == 1
    assert re.search(words, output), output
    assert len(workflow.allocations()) <= 1
