"""Resources become what sbatch is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from harmony_core.errors import UserError
from harmony_core.site import JobRequest


def test_flags_are_those_that_are_given() -> None:
    resources = {
        "nodes": 2,
        "tasks_per_node": 8,
        "cpus_per_task": 7,
        "mem_mb": 0,
        "runtime": "2h",
        "slurm_partition": "'batch'",
        "slurm_account": "",
        "slurm_extra": "--core-spec=8 --no-kill",
        "launcher": "srun",
    }
    request = JobRequest.from_resources("train", resources)
    assert request.flags() == [
        "--nodes=2",
        "--ntasks-per-node=8",
        "--cpus-per-task=7",
        "--mem=0M",
        "--time=120",
        "--partition=batch",
        "--core-spec=8",
        "--no-kill",
    ]
    assert (request.cpus_per_node, request.node_gpus, request.node_mb) == (56, 0, 0)


def test_the_scheduler_is_asked_for_all_that_the_plugin_asks_for() -> None:
    resources = {"gpus": 4, "gpu_model": "a100", "gres": "nvme:1", "reservation": "demo", "exclude": "n1,n2"}
    flags = [
        "--nodes=1",
        "--cpus-per-task=1",
        "--gpus=a100:4",
        "--gres=nvme:1",
        "--reservation=demo",
        "--exclude=n1,n2",
    ]
    assert JobRequest.from_resources("train", resources).flags() == flags


def test_models_and_shares_of_gpus_are_asked_for() -> None:
    resources = {"gpus_per_node": 4, "gpu_model": "a100", "mem_mb_per_gpu": 8000, "cpus_per_gpu": 6, "tasks_per_gpu": 1}
    request = JobRequest.from_resources("train", resources)
    assert request.flags() == [
        "--nodes=1",
        "--ntasks-per-gpu=1",
        "--cpus-per-gpu=6",
        "--gpus-per-node=a100:4",
        "--mem-per-gpu=8000M",
    ]
    assert (request.cpus_per_node, request.node_gpus, request.node_mb) == (24, 4, 32000)


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        ({}, 0),
        ({"gpus": 16, "nodes": 2}, 8),
        ({"gpu": 3, "nodes": 2}, 2),
        ({"gpus_per_node": 4}, 4),
        ({"gpus_per_task": 1, "tasks_per_node": 8}, 8),
    ],
)
def test_gpus_of_a_node(resources: dict[str, Any], gpus: int) -> None:
    assert JobRequest.from_resources("train", resources).node_gpus == gpus


@pytest.mark.parametrize(
    ("resources", "cpus", "memory"),
    [
        ({"threads": 4, "mem_mb_per_cpu": 1000}, 4, 4000),
        ({"tasks": 6, "nodes": 2, "cpus_per_task": 2, "mem_mb": 500}, 6, 500),
    ],
)
def test_cpus_and_memory_of_a_node(resources: dict[str, Any], cpus: int, memory: int) -> None:
    request = JobRequest.from_resources("train", resources)
    assert (request.cpus_per_node, request.node_mb) == (cpus, memory)


@pytest.mark.parametrize(
    ("text", "minutes"), [(90, 90), ("90", 90), ("2h", 120), ("1.5 h", 90), ("1d", 1440), ("30s", 1)]
)
def test_runtime_in_minutes(text: object, minutes: int) -> None:
    assert JobRequest.from_resources("train", {"runtime": text}).runtime == minutes


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"nodes": "many"}, "train.nodes: many: give a whole number"),
        ({"nodes": 1.5}, "train.nodes: 1.5: give a whole number"),
        ({"nodes": float("inf")}, "train.nodes: inf: give a whole number"),
        (
            {"slurm_extra": "--comment='mine"},
            'train.slurm_extra: "--comment=\'mine": No closing quotation; quote as in a shell',
        ),
        ({"runtime": "2 fortnights"}, "train.runtime: 2 fortnights: give minutes"),
        ({"nodes": 0}, "train.nodes: 0: "),
        (
            {"mem_mb": 64000, "mem_mb_per_cpu": 2000},
            "train.mem_mb: 64000: mem_mb_per_cpu=2000 says the same in another way",
        ),
        ({"gpu_model": "a100"}, "train.gpu_model: a100: has no effect without GPUs"),
        ({"slurm_partion": "gpu"}, "train.slurm_partion: gpu: there is no such resource"),
    ],
)
def test_nonsense_is_named(resources: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        JobRequest.from_resources("train", resources).flags()
    assert told in str(caught.value)
