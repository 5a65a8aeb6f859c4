"""What strangers do to a Slurm and ask of it, with whole Snakemake runs on a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harmony_core.progress import read_waiting
from harmony_core.store import SearchFolder
from tests.executor.workflow import Workflow
from tests.slurm.cluster import Cluster
from tests.waiting import wait_until

MEMORY = "echo ${{SLURM_MEM_PER_NODE:-none}} ${{SLURM_MEM_PER_CPU:-none}} > {output}"


@pytest.fixture
def workflow(cluster: Cluster, tmp_path: Path) -> Workflow:
    """A workflow on the cluster; it leaves nothing behind."""
    return Workflow(tmp_path / "workflow", "slurm", cluster.environment)


def rule(name: str, command: str, resources: str = "", more: str = "") -> str:
    return (
        f"rule {name}:\n    output: {name!r}\n    threads: 4\n    {more}\n"
        f"    resources: {resources}\n    shell: {command!r}\n"
    )


def test_other_jobs_of_any_name_change_nothing(workflow: Workflow, cluster: Cluster) -> None:
    names = [b"caf\xe9", b"a|b|c", b"two\nlines", b"7|0|CANCELLED|None||x", b""]
    for name in names:
        cluster.submit("sleep 600", os.fsdecode(b"--job-name=" + name))
    workflow.write(rule("one", "touch {output}", "nodes=1"), targets='"one"')
    code, output = workflow.run()
    assert code == 0, output
    assert "Traceback" not in output


def test_memory_of_a_rule_counts_beside_a_default_of_another_kind(workflow: Workflow) -> None:
    """Snakemake adds a mem_mb of its own to whatever the defaults say."""
    workflow.write(
        rule("ruled", MEMORY, "mem_mb=64000"),
        rule("plain", MEMORY, "nodes=1"),
        rule("set", MEMORY, "nodes=1"),
        targets='"ruled", "plain", "set"',
    )
    code, output = workflow.run("--default-resources", "mem_mb_per_cpu=2000", "--set-resources", "set:mem_mb=32000")
    assert code == 0, output
    assert [workflow.read(name) for name in ("ruled", "plain", "set")] == ["64000 none", "none 2000", "32000 none"]


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        (
            "mem_mb=64000, mem_mb_per_cpu=2000",
            "resource mem_mb=64000: mem_mb_per_cpu=2000 says the same in another way",
        ),
        ("gpu_model='a100'", "resource gpu_model=a100: has no effect without GPUs; give gpu, how many, too"),
        ("slurm_partion='main'", "resource slurm_partion=main: there is no such resource"),
        ("mem_mb=999999999", "Slurm refuses the job: "),
        ("mem_mb_per_cpu=999999999", "Slurm refuses the job: "),
    ],
)
def test_what_no_node_has_and_what_has_no_effect_is_refused_before_it_is_queued(
    workflow: Workflow, cluster: Cluster, resources: str, says: str
) -> None:
    workflow.write(rule("one", "touch {output}", resources), targets='"one"')
    code, output = workflow.run()
    assert code == 1
    assert says in output
    assert not workflow.journal("submitted")
    assert not cluster.run("squeue", "--noheader", "--states=all", "--name=one")


def test_a_refused_group_has_slurms_reason(workflow: Workflow) -> None:
    workflow.write(
        rule("one", "touch {output}", "slurm_partition='nowhere'", "group: 'g'"),
        rule("two", "touch {output}", "slurm_partition='nowhere'", "group: 'g'\n    input: 'one'"),
        targets='"two"',
    )
    code, output = workflow.run()
    assert code == 1
    assert "Slurm refuses the job: invalid partition specified: nowhere" in output


def test_what_jobs_wait_for_is_told(workflow: Workflow, cluster: Cluster) -> None:
    cluster.submit("sleep 600", "--nodes=4", "--exclusive")
    output = "results/toy/one"
    workflow.write(rule("one", "touch {output}", "nodes=1").replace("'one'", repr(output)), targets=repr(output))
    main = workflow.start("--logger", "harmony")
    search = SearchFolder(workflow.root / "results" / "toy")
    # Both in the log and for `harmony watch`.
    wait_until(lambda: "Waiting in Slurm's queue: 1 for free nodes" in workflow.said(main))
    wait_until(lambda: read_waiting(search) == "Waiting in Slurm's queue: 1 for free nodes")
    cluster.run("scancel", f"--user={os.getuid()}", "--name=wrap")
    code, said = workflow.wait(main)
    assert code == 0, said
    assert read_waiting(search) is None
    assert not list((workflow.root / ".snakemake/submitit/jobs").iterdir()), "files of what ended well are gone"
