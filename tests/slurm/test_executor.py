"""Whole Snakemake runs through the executor plugin on a real Slurm, and what can happen to them there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.executor.workflow import Workflow
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import start
from tests.slurm.packages import SLURM
from tests.waiting import wait_until

# Each run of a job leaves a line, so that a second one is seen.
COUNTED = "mkdir -p runs; echo $SLURMD_NODENAME >> runs/{wildcards.i}"
HELD = f"{COUNTED}; until test -e go; do sleep 0.1; done; touch {{output}}"


def rule(command: str, more: str = "") -> str:
    return f"rule one:\n    output: 'out/{{i}}'\n    {more}\n    shell: {command!r}\n"


def outputs(number: int) -> str:
    return f'expand("out/{{i}}", i=range({number}))'


Make = Callable[[Cluster], Workflow]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a workflow that runs on a cluster."""
    made: list[Workflow] = []

    def on(cluster: Cluster) -> Workflow:
        made.append(Workflow(tmp_path / f"workflow-{len(made)}", "slurm", cluster.environment))
        return made[-1]

    yield on
    for one in made:
        one.stop()


@pytest.fixture
def workflow(cluster: Cluster, make: Make) -> Workflow:
    """A workflow on the cluster without accounting."""
    return make(cluster)


def runs(workflow: Workflow, job: int) -> list[str]:
    """Nodes on which a job has begun."""
    path = workflow.root / "runs" / str(job)
    return path.read_text().split() if path.exists() else []


def job_ids(workflow: Workflow) -> list[str]:
    """Slurm's ids of all submissions, members of arrays one by one."""
    return [job_id for record in workflow.journal("submitted") for job_id in record["ids"]]


def test_twenty_jobs_are_one_submission(workflow: Workflow) -> None:
    workflow.write(rule(f"{COUNTED}; echo $SLURM_ARRAY_JOB_ID > {{output}}"), targets=outputs(20))
    code, output = workflow.run()
    assert code == 0, output
    assert len({workflow.read(f"out/{i}") for i in range(20)}) == 1
    assert len(workflow.journal("submitted")) == 1


def test_arrays_are_no_larger_than_the_site_allows(make: Make, small_arrays: Cluster) -> None:
    workflow = make(small_arrays)
    workflow.write(rule("echo $SLURM_ARRAY_JOB_ID > {output}"), targets=outputs(10))
    code, output = workflow.run()
    assert code == 0, output
    assert [len(record["ids"]) for record in workflow.journal("submitted")] == [4, 4, 2]


@pytest.fixture(scope="session")
def small_arrays() -> Iterator[Cluster]:
    """A cluster with MaxArraySize 4."""
    yield from start(SLURM, nodes=1, settings={"MaxArraySize": 4})


def test_failure_is_told_with_the_jobs_id_and_known_to_slurm(workflow: Workflow, cluster: Cluster) -> None:
    workflow.write(rule("echo about to fail; exit 3"), targets=outputs(2))
    code, output = workflow.run("--keep-going")
    assert code == 1
    assert output.count("exit code 3 on ") == 2
    assert all(f"external_jobid: {job}" in output for job in job_ids(workflow))
    assert set(cluster.job_states(job_ids(workflow)[0].split("_")[0])) == {"FAILED"}


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ("slurm_partition='nowhere'", "Invalid partition name specified (resource slurm_partition"),
        ("gpus=100", "Requested node configuration is not available (resources nodes, tasks"),
        ("constraint='purple'", "Invalid feature specification (resource constraint"),
        ("slurm_extra='--purple'", "Slurm refuses the job: unrecognized option '--purple'"),
    ],
)
def test_what_slurm_refuses_is_an_error_in_its_words(workflow: Workflow, resources: str, says: str) -> None:
    workflow.write(rule("touch {output}", f"resources: {resources}"), targets=outputs(2))
    code, output = workflow.run("--keep-going")
    assert code == 1
    assert output.count(says) == 2
    assert "Traceback" not in output


def test_what_slurm_takes_and_never_starts_is_an_error(workflow: Workflow, cluster: Cluster) -> None:
    """Without EnforcePartLimits a job over the partition's limit stays in the queue for good."""
    workflow.write(rule("touch {output}", "resources: runtime=600"), targets=outputs(2))
    cluster.run("scontrol", "update", "partitionname=main", "maxtime=60")
    try:
        code, output = workflow.run("--keep-going")
    finally:
        cluster.run("scontrol", "update", "partitionname=main", "maxtime=infinite")
    assert code == 1
    says = "Slurm will never start it: PartitionTimeLimit (resource runtime is beyond the partition's limit)"
    assert output.count(says) == 2
    assert not cluster.run("squeue", "--noheader")


def test_an_unknown_account_is_an_error(make: Make, accounting_cluster: Cluster) -> None:
    workflow = make(accounting_cluster)
    workflow.write(rule("touch {output}", "resources: slurm_account='nobody'"), targets=outputs(1))
    code, output = workflow.run()
    assert code == 1
    assert "Invalid account or account/partition combination specified (resource slurm_account" in output


def test_a_limit_on_submitted_jobs_is_respected_by_waiting(make: Make, accounting_cluster: Cluster) -> None:
    workflow = make(accounting_cluster)
    workflow.write(rule(f"{COUNTED}; touch {{output}}", "resources: slurm_account='lab'"), targets=outputs(10))
    limit = ("sacctmgr", "--immediate", "modify", "account", "lab", "set")
    accounting_cluster.run(*limit, "MaxSubmitJobs=4")
    try:
        code, output = workflow.run()
    finally:
        accounting_cluster.run(*limit, "MaxSubmitJobs=-1")
    assert code == 0, output
    assert max(len(record["ids"]) for record in workflow.journal("submitted")) <= 4
    assert [runs(workflow, job) for job in range(10)] == [[runs(workflow, job)[0]] for job in range(10)]


def test_a_cancelled_member_is_one_failure(workflow: Workflow, cluster: Cluster) -> None:
    workflow.write(rule(HELD), targets=outputs(3))
    main = workflow.start("--keep-going")
    wait_until(lambda: all(runs(workflow, job) for job in range(3)))
    cluster.run("scancel", job_ids(workflow)[1])
    cluster.wait_for_job(job_ids(workflow)[1], "CANCELLED")
    wait_until(lambda: "CANCELLED: it was cancelled (scancel)" in workflow.said(main))
    (workflow.root / "go").touch()
    code, output = workflow.wait(main)
    assert code == 1
    assert output.count("Error in rule one") == 1
    assert len(list((workflow.root / "out").iterdir())) == 2


def test_a_requeued_job_is_followed(workflow: Workflow, cluster: Cluster) -> None:
    workflow.write(rule(HELD), targets=outputs(2))
    main = workflow.start()
    wait_until(lambda: all(runs(workflow, job) for job in range(2)))
    cluster.run("scontrol", "requeue", job_ids(workflow)[0])
    wait_until(lambda: sorted(len(runs(workflow, job)) for job in range(2)) == [1, 2])
    (workflow.root / "go").touch()
    code, output = workflow.wait(main)
    assert code == 0, output
    assert workflow.attempts() == 2


def test_a_preempted_job_is_followed(workflow: Workflow, cluster: Cluster) -> None:
    workflow.write(rule(HELD, "resources: slurm_partition='spare'"), targets=outputs(1))
    main = workflow.start()
    wait_until(lambda: runs(workflow, 0))
    rival = cluster.submit("sleep 1", "--partition=main", "--nodes=4", "--exclusive")
    cluster.wait_for_job(rival, "COMPLETED")
    wait_until(lambda: len(runs(workflow, 0)) == 2)
    (workflow.root / "go").touch()
    code, output = workflow.wait(main)
    assert code == 0, output
    assert workflow.attempts() == 1


@pytest.mark.parametrize("crash", [False, True], ids=["down", "crashed"])
def test_a_job_whose_node_fails_is_followed_to_another(workflow: Workflow, cluster: Cluster, crash: bool) -> None:
    workflow.write(rule(HELD), targets=outputs(1))
    main = workflow.start()
    wait_until(lambda: runs(workflow, 0))
    (node,) = runs(workflow, 0)
    (cluster.lose_node if crash else cluster.node_down)(node)
    wait_until(lambda: len(runs(workflow, 0)) == 2)
    assert runs(workflow, 0)[1] != node
    (workflow.root / "go").touch()
    code, output = workflow.wait(main)
    assert code == 0, output
    assert workflow.attempts() == 1


@pytest.mark.parametrize("extra", ["", " --no-requeue"], ids=["requeue", "no-requeue"])
def test_a_job_that_slurm_keeps_without_its_batch_node_begins_again(
    workflow: Workflow, cluster: Cluster, extra: str
) -> None:
    """With --no-kill Slurm calls it running as long as another node is left, though nothing of it runs."""
    more = f"resources: nodes=2, tasks_per_node=1, slurm_extra='--no-kill{extra}'"
    workflow.write(rule(HELD, more), targets=outputs(1))
    main = workflow.start("--retries", "1" if extra else "0")
    wait_until(lambda: runs(workflow, 0))
    (node,) = runs(workflow, 0)
    cluster.lose_node(node)
    wait_until(lambda: len(runs(workflow, 0)) == 2)
    (workflow.root / "go").touch()
    code, output = workflow.wait(main)
    assert code == 0, output
    assert f"was lost with {node}, and Slurm keeps the rest of its nodes: " in output
    assert workflow.attempts() == (2 if extra else 1)


def test_a_node_failure_without_requeue_is_a_failure_that_retries_may_mend(
    workflow: Workflow, cluster: Cluster
) -> None:
    workflow.write(rule(HELD, "resources: slurm_extra='--no-requeue'"), targets=outputs(1))
    main = workflow.start("--retries", "1")
    wait_until(lambda: runs(workflow, 0))
    cluster.node_down(runs(workflow, 0)[0])
    wait_until(lambda: len(runs(workflow, 0)) == 2)
    (workflow.root / "go").touch()
    code, output = workflow.wait(main)
    assert code == 0, output
    assert "NODE_FAIL: a node failed, and Slurm did not requeue it" in output
    assert workflow.attempts() == 2
    job = cluster.run("scontrol", "show", "job", job_ids(workflow)[1])
    assert f"ExcNodeList={runs(workflow, 0)[0]}" in job


def test_a_restarted_controller_is_waited_for(workflow: Workflow, cluster: Cluster) -> None:
    """Down while jobs run, and while others are to be submitted."""
    workflow.write(
        rule(HELD),
        "rule two:\n    input: 'out/0'\n    output: 'two'\n    shell: 'touch {output}'\n",
        targets=f'{outputs(2)}, "two"',
    )
    main = workflow.start()
    wait_until(lambda: all(runs(workflow, job) for job in range(2)))
    cluster.stop_slurmctld()
    (workflow.root / "go").touch()
    wait_until(lambda: "slurm takes no job now, trying again" in workflow.said(main))
    cluster.start_slurmctld()
    code, output = workflow.wait(main)
    assert code == 0, output
    assert workflow.attempts() == 3
    assert [len(runs(workflow, job)) for job in range(2)] == [1, 1]


def test_a_killed_snakemake_finds_its_jobs_again(workflow: Workflow) -> None:
    """Two have ended meanwhile, the third runs, the fourth is queued."""
    workflow.write(
        rule(f"{COUNTED}; until test -e go-{{wildcards.i}}; do sleep 0.1; done; touch {{output}}", "threads: 64"),
        targets=outputs(6),
    )
    main = workflow.start()
    wait_until(lambda: sum(bool(runs(workflow, job)) for job in range(6)) == 4)
    begun = {job for job in range(6) if runs(workflow, job)}
    workflow.kill(main)
    ended = sorted(begun)[:1]
    (workflow.root / f"go-{ended[0]}").touch()
    workflow.wait_for_files(f"out/{ended[0]}")
    again = workflow.start()
    wait_until(lambda: workflow.said(again).count("submitted by an earlier Snakemake process") == 5)
    for job in range(6):
        (workflow.root / f"go-{job}").touch()
    code, output = workflow.wait(again)
    assert code == 0, output
    assert output.count("not run again") == 1
    assert len(workflow.journal("submitted")) == 1
    assert [len(runs(workflow, job)) for job in range(6)] == [1] * 6


def test_a_snakemake_killed_in_its_submission_runs_nothing_twice(workflow: Workflow, cluster: Cluster) -> None:
    """The journal says that a submission was begun; whether Slurm has it, Slurm is asked by the submission's name."""
    workflow.write(rule(f"{COUNTED}; touch {{output}}"), targets=outputs(3))
    main = workflow.start()
    wait_until(lambda: workflow.journal("begin"))
    workflow.kill(main)
    code, output = workflow.run()
    assert code == 0, output
    assert [len(runs(workflow, job)) for job in range(3)] == [1] * 3


def test_an_interrupted_snakemake_leaves_nothing_in_the_queue(workflow: Workflow, cluster: Cluster) -> None:
    workflow.write(rule(HELD, "threads: 64"), targets=outputs(6))
    main = workflow.start()
    wait_until(lambda: sum(bool(runs(workflow, job)) for job in range(6)) == 4)
    begun = time.monotonic()
    main.send_signal(2)
    code, output = workflow.wait(main)
    assert code == 1, output
    assert time.monotonic() - begun < 30
    wait_until(lambda: not cluster.run("squeue", "--noheader"))
    wait_until(lambda: not workflow.processes())


def test_a_job_cancelled_by_slurm_has_its_grace(workflow: Workflow, cluster: Cluster) -> None:
    """The batch shell does not die ahead of the command, which may end in its own way."""
    # Slurm signals the shell and its sleep alike: under Snakemake's `set -e` a sleep that is told first ends the shell.
    trap = "trap 'sleep 0.2 || true; touch tidied; exit 0' TERM"
    command = f"{trap}; {COUNTED}; while true; do sleep 0.1 || true; done"
    workflow.write(rule(command), targets=outputs(1))
    main = workflow.start()
    wait_until(lambda: runs(workflow, 0))
    cluster.run("scancel", job_ids(workflow)[0])
    workflow.wait_for_files("tidied")
    workflow.wait(main)


def test_a_nested_snakemake_runs_what_is_not_a_shell_rule(workflow: Workflow) -> None:
    code = "open(output[0], 'w').write(str(threads))"
    workflow.write(
        f"rule one:\n    output: 'out/{{i}}'\n    threads: 2\n    run:\n        {code}\n", targets=outputs(1)
    )
    returned, output = workflow.run()
    assert returned == 0, output
    assert workflow.read("out/0") == "2"


def test_srun_inside_reaches_all_tasks(workflow: Workflow) -> None:
    resources = "resources: nodes=2, tasks_per_node=4"
    workflow.write(rule("srun bash -c 'echo $SLURM_PROCID $SLURMD_NODENAME' > {output}", resources), targets=outputs(1))
    code, output = workflow.run()
    assert code == 0, output
    lines = [line.split() for line in workflow.read("out/0").splitlines()]
    assert sorted(int(rank) for rank, _ in lines) == list(range(8))
    assert len({node for _, node in lines}) == 2
