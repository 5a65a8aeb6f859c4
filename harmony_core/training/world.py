"""Which process of how many this one is, as whoever started it says. No torch."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Self

from harmony_core.errors import UserError
from harmony_core.host import visible_gpus

# Linux gives out ports from 32768 up by itself, and services use those below these.
_FIRST_PORT, _NUM_PORTS = 20_000, 9_973
_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclasses.dataclass(frozen=True)
class World:
    """One process's place among those that train one model.

    Args:
        rank: its number.
        size: how many there are.
        local_rank: its number among those of its node.
        address: host that the world meets at: rank 0's.
        port: TCP port there.
        agent_store: whether a process outside of the world (torchrun's agent) listens there, and not rank 0.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    agent_store: bool = False

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Self:
        """As whoever started this process says: torchrun or `harmony train` (RANK...), srun (SLURM_...), or nobody.

        RANK goes before Slurm's variables, since a team inside an allocation is smaller than srun's step.

        Raises:
            UserError: a variable is missing or no number, or the rank is not below the size.
        """
        given = os.environ if variables is None else variables
        if "RANK" in given:
            missing = [name for name in _LAUNCHER if name not in given]
            if missing:
                raise UserError(missing[0], "missing", "RANK is set: set this too, or start with srun or torchrun")
            agent = given.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
            rank, size, local = (_number(given, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
            port = _number(given, "MASTER_PORT")
            return cls(rank, size, local, given["MASTER_ADDR"], port, agent)._checked("RANK")
        # A batch script has SLURM_PROCID too, and is one process. Only a task of srun belongs to a step.
        if "SLURM_STEP_ID" in given and _number(given, "SLURM_NTASKS", "1") > 1:
            rank, size, local = (_number(given, name) for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
            nodes = given.get("SLURM_STEP_NODELIST") or given.get("SLURM_JOB_NODELIST", "")
            address = given.get("MASTER_ADDR") or first_host(nodes)
            port = _number(given, "MASTER_PORT", str(_step_port(given)))
            return cls(rank, size, local, address, port)._checked("SLURM_PROCID")
        return cls()

    @property
    def alone(self) -> bool:
        """Whether there is nobody to talk to."""
        return self.size == 1

    @property
    def device_index(self) -> int:
        """Index of this process's GPU among those that it sees: srun may show each task one, or all of the node's."""
        gpus = visible_gpus()
        return self.local_rank % len(gpus) if gpus else self.local_rank

    def _checked(self, name: str) -> Self:
        if not 0 <= self.rank < self.size:
            raise UserError(name, self.rank, f"use a rank from 0 to {self.size - 1}")
        return self


def first_host(nodes: str) -> str:
    """The first host of Slurm's list: `node[003-005,9],login1` is node003.

    Raises:
        UserError: there is none.
    """
    # The first element ends at the first comma outside of brackets; of a range the first number counts.
    match = re.match(r"(?:[^,\[\]]|\[[^\]]*\])+", nodes)
    if match is None:
        raise UserError("SLURM_JOB_NODELIST", repr(nodes), "start with srun inside an allocation, or set MASTER_ADDR")
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", match[0])


def _step_port(variables: Mapping[str, str]) -> int:
    """The port of a step: all its ranks know it, and other steps of this job, or of the next jobs, have others."""
    job, step = _number(variables, "SLURM_JOB_ID", "0"), _number(variables, "SLURM_STEP_ID")
    return _FIRST_PORT + (61 * job + step) % _NUM_PORTS


def _number(variables: Mapping[str, str], name: str, default: str | None = None) -> int:
    text = variables.get(name, default)
    try:
        return int(text or "")
    except ValueError:
        raise UserError(name, "missing" if text is None else text, "set it to a whole number") from None
