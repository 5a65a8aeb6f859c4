"""Resources of Snakemake as parameters of submitit, and as lines of a batch script."""

from __future__ import annotations

from pathlib import Path

import pytest
import submitit

from snakemake_executor_plugin_submitit.backend import Resource
from snakemake_executor_plugin_submitit.resource_rules import ResourceError, over_defaults
from snakemake_executor_plugin_submitit.resources import (
    local_parameters,
    read_resources,
    slurm_parameters,
)


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> submitit.SlurmExecutor:
    """Submitit's executor, where there need be no Slurm."""
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 1))
    return submitit.SlurmExecutor(tmp_path)


def options(executor: submitit.SlurmExecutor, resources: dict[str, Resource], setup: str = "") -> dict[str, str]:
    """What a batch script asks for."""
    executor.update_parameters(**slurm_parameters(resources, setup))
    lines = executor._make_submission_file_text("command", "uid").splitlines()
    pairs = (line.removeprefix("#SBATCH --").partition("=") for line in lines if line.startswith("#SBATCH"))
    ours = {name: value for name, _, value in pairs}
    return {name: ours[name] for name in ours.keys() - {"output", "error", "open-mode", "job-name"}}


def test_the_least(executor: submitit.SlurmExecutor) -> None:
    expected = {"cpus-per-task": "2", "nodes": "1", "requeue": "", "signal": "USR2@300"}
    assert options(executor, {"threads": 2}) == expected


def test_everything(executor: submitit.SlurmExecutor) -> None:
    resources: dict[str, Resource] = {
        "threads": 1,
        "cpus_per_task": 7,
        "nodes": 2,
        "tasks_per_node": 8,
        "runtime": 120,
        "mem_mb": 1500,
        "gpus_per_task": 1,
        "slurm_partition": "batch",
        "slurm_account": "abc123",
        "qos": "debug",
        "constraint": "nvme",
        "reservation": "maintenance",
        "slurm_extra": "--network=disable_rdzv_get --core-spec=8 --exclusive",
        "unknown": "left alone",
    }
    assert options(executor, resources) == {
        "cpus-per-task": "7",
        "nodes": "2",
        "ntasks-per-node": "8",
        "time": "120",
        "mem": "1500M",
        "gpus-per-task": "1",
        "partition": "batch",
        "account": "abc123",
        "qos": "debug",
        "constraint": "nvme",
        "reservation": "maintenance",
        "network": "disable_rdzv_get",
        "core-spec": "8",
        "exclusive": "",
        "requeue": "",
        "signal": "USR2@300",
    }


@pytest.mark.parametrize(
    ("resources", "name", "value"),
    [
        ({"mem_mb_per_cpu": 500}, "mem-per-cpu", "500M"),
        ({"gpus_per_node": 4, "mem_mb_per_gpu": 500}, "mem-per-gpu", "500M"),
        ({"gpus_per_node": 4, "gpu_model": "a100"}, "gpus-per-node", "a100:4"),
        ({"gpus_per_task": "a100:1"}, "gpus-per-task", "a100:1"),
        ({"gpu": 2}, "gpus", "2"),
        ({"gpus": 2, "gpu_model": "a100"}, "gpus", "a100:2"),
        ({"tasks": 16, "nodes": 2}, "ntasks", "16"),
        ({"gpu": 2, "tasks_per_gpu": 3}, "ntasks-per-gpu", "3"),
        # Said of a job whose defaults have a model.
        ({"gpu": 0, "gpu_model": "a100"}, "cpus-per-task", "1"),
        # Ahead of a limit by half of it at most: a signal at once would end what has just begun.
        ({"runtime": 4}, "signal", "USR2@120"),
    ],
)
def test_one(executor: submitit.SlurmExecutor, resources: dict[str, Resource], name: str, value: str) -> None:
    assert options(executor, resources)[name] == value


def test_cpus_of_a_gpu_are_asked_for_instead_of_those_of_a_task(executor: submitit.SlurmExecutor) -> None:
    asked = options(executor, {"gpu": 2, "cpus_per_gpu": 7, "threads": 3})
    assert asked["cpus-per-gpu"] == "7"
    assert "cpus-per-task" not in asked


def test_a_job_that_shall_not_be_requeued(executor: submitit.SlurmExecutor) -> None:
    asked = options(executor, {"slurm_extra": "--no-requeue"})
    assert "no-requeue" in asked
    assert "requeue" not in asked


def test_setup_goes_into_the_script_in_order(executor: submitit.SlurmExecutor) -> None:
    executor.update_parameters(**slurm_parameters({}, "module load a\nexport B=1"))
    lines = executor._make_submission_file_text("command", "uid").splitlines()
    assert lines.index("module load a") + 1 == lines.index("export B=1") < lines.index("command")


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"nodes": "two"}, "resource nodes=two: give a whole number, at least 0"),
        ({"runtime": -5}, "resource runtime=-5: give a whole number, at least 0"),
        ({"slurm_extra": "--array=0-9"}, "--array is set by the plugin"),
        ({"slurm_extra": "--signal=B:USR1@60"}, "--signal is set by the plugin"),
        ({"clusters": "other"}, "resource clusters=other: jobs go to the default cluster alone; leave it out"),
        (
            {"threads": 4, "mem_mb_per_cpu": 2000, "mem_mb": 64000},
            "resource mem_mb=64000: mem_mb_per_cpu=2000 says the same in another way; leave one out",
        ),
        ({"gpu": 2, "cpus_per_gpu": 7, "cpus_per_task": 4}, "cpus_per_task=4: cpus_per_gpu=7 says the same"),
        ({"gpu": 2, "gpus": 1}, "resource gpus=1: gpu=2 says the same in another way"),
        ({"gpu_model": "a100"}, "resource gpu_model=a100: has no effect without GPUs; give gpu, how many, too"),
        ({"mem_mb_per_gpu": 100}, "mem_mb_per_gpu=100: has no effect without GPUs"),
        ({"tasks_per_gpu": 2}, "tasks_per_gpu=2: has no effect without GPUs"),
        ({"cpus_per_gpu": 2}, "cpus_per_gpu=2: has no effect without GPUs"),
        ({"gpus": "a100:2", "gpu_model": "v100"}, "gpu_model=v100: gpus=a100:2 names a model too"),
        ({"gpus": "two"}, "resource gpus=two: give a number, or MODEL:NUMBER"),
        ({"nodes": 0}, "resource nodes=0: give at least 1"),
        ({"tasks": 0}, "resource tasks=0: give at least 1"),
        ({"nodes": float("inf")}, "resource nodes=inf: give a whole number"),
        ({"slurm_partion": "gpu"}, "slurm_partion=gpu: there is no such resource; use slurm_partition"),
        (
            {"slurm_extra": "--partition=a", "slurm_partition": "b"},
            "--partition is resource slurm_partition=b too; say it once",
        ),
        ({"slurm_extra": "-C nvme"}, "-C: write long options as --name=value or --name"),
        ({"slurm_extra": "--nice 5"}, "5: write long options as --name=value or --name"),
        ({"slurm_extra": "--comment='no end"}, "No closing quotation"),
    ],
)
def test_nonsense_is_an_error_of_one_line(resources: dict[str, Resource], says: str) -> None:
    with pytest.raises(ResourceError) as caught:
        slurm_parameters(resources)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_local_jobs_have_one_node_and_no_limit_unless_asked(tmp_path: Path) -> None:
    assert local_parameters({"threads": 2, "tasks_per_node": 8, "gpus": 1, "runtime": 5}) == {
        "timeout_min": 5,
        "gpus_per_node": 1,
    }
    assert local_parameters({})["timeout_min"] > 60 * 24 * 300
    with pytest.raises(ResourceError, match="nodes=2: the local cluster is this one machine"):
        local_parameters({"nodes": 2})


def test_resources_in_a_line() -> None:
    assert read_resources("nodes=2 slurm_extra='--a=b --c' runtime=120") == {
        "nodes": 2,
        "slurm_extra": "--a=b --c",
        "runtime": 120,
    }
    assert read_resources("runtime=2h mem=64GB") == {"runtime": 120, "mem_mb": 64000}
    for text, says in (
        ("nodes", "write name=value"),
        ("runtime=1-02:00:00", "give minutes, or a text such as 2h"),
        ("mem=64", "give a size such as 64GB, or mem_mb"),
    ):
        with pytest.raises(ResourceError, match=says):
            read_resources(text)


def test_a_default_gives_way_to_what_says_the_same_in_another_way() -> None:
    defaults: dict[str, Resource] = {"mem_mb_per_cpu": 2000, "runtime": 60}
    assert over_defaults({"mem_mb": 64000}, defaults) == {"mem_mb": 64000, "runtime": 60}
    assert over_defaults({"nodes": 2}, defaults) == {"mem_mb_per_cpu": 2000, "runtime": 60, "nodes": 2}
