"""How a process learns its rank, and what happens where not all come."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys

import pytest

from harmony_core.errors import UserError
from harmony_core.host import free_port
from harmony_core.training.rendezvous import NotMet, _met, _opened_store
from harmony_core.training.world import World, first_host

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node7", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "9",
    "SLURM_NTASKS": "16",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_NODELIST": "frontier[00011-00012,00020]",
}


def test_the_store_takes_more_connections_than_files_are_given_at_first() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        _opened_store(World(0, 2, 0, "127.0.0.1", free_port()), 5.0)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_alone() -> None:
    assert World.from_environment({}).alone


def test_torchrun() -> None:
    assert World.from_environment(TORCHRUN) == World(3, 8, 1, "node7", 29500)
    assert World.from_environment({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"}).agent_store


def test_srun() -> None:
    assert World.from_environment(SRUN) == World(9, 16, 1, "frontier00011", 20_000)
    assert World.from_environment({**SRUN, "MASTER_ADDR": "hsn0", "MASTER_PORT": "5"}) == World(9, 16, 1, "hsn0", 5)
    # Rank 0 is on the first node of the step, which need not be the job's.
    assert World.from_environment({**SRUN, "SLURM_STEP_NODELIST": "frontier00020"}).address == "frontier00020"


def test_worlds_that_share_a_node_meet_at_ports_of_their_own() -> None:
    steps = [
        {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)} for job in range(4_711, 4_791) for step in range(60)
    ]
    ports = {World.from_environment({**SRUN, **step}).port for step in steps}
    assert len(ports) == len(steps)
    assert max(ports) < 32_768


def test_a_team_inside_of_an_allocation_is_smaller_than_the_step() -> None:
    assert World.from_environment({**SRUN, **TORCHRUN}) == World(3, 8, 1, "node7", 29500)


def test_a_batch_script_is_one_process() -> None:
    assert World.from_environment({name: SRUN[name] for name in SRUN if name != "SLURM_STEP_ID"}).alone


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RANK": "0"}, "WORLD_SIZE: missing"),
        ({**TORCHRUN, "RANK": "8"}, "RANK: 8: use a rank from 0 to 7"),
        ({**TORCHRUN, "MASTER_PORT": "http"}, "MASTER_PORT: http: set it to a whole number"),
        ({**SRUN, "SLURM_JOB_NODELIST": ""}, "SLURM_JOB_NODELIST: '': start with srun"),
        ({name: SRUN[name] for name in SRUN if name != "SLURM_LOCALID"}, "SLURM_LOCALID: missing"),
    ],
)
def test_what_is_wrong_is_named(variables: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=f"^{told}"):
        World.from_environment(variables)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("login1", "login1"),
        ("a1,b[2-3]", "a1"),
        ("node[003-005,9],login1", "node003"),
        ("node[7,9-12]", "node7"),
        ("rack[1-2]node[08-10],x", "rack1node08"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_a_gpu_of_its_own_or_one_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(local_rank=3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    assert world.device_index == 3
    # Slurm's --gpus-per-task=1 shows each task one.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert world.device_index == 0


def test_a_rank_that_does_not_come_is_named_in_time() -> None:
    code = "from harmony_core.training.rendezvous import World, start; start(World.from_environment(), 4.0)"
    world = {"WORLD_SIZE": "3", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **world, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 2)
    ]
    # Far below the ten minutes that they would wait by default, however slowly they start.
    told = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert all(rank.returncode for rank in ranks)
    assert "of 3 ranks, these did not come within 4 s: 1" in told[0]


def test_a_port_that_is_taken_and_a_rank_0_that_is_not_there_are_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"MASTER_PORT: {port}: another process listens there"):
            _met(World(0, 2, port=port), 1.0)
    with pytest.raises(NotMet, match=f"rank 0 did not answer within 1 s at 127.0.0.1, port {port}"):
        _met(World(1, 2, port=port), 1.0)
