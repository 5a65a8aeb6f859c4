"""What Slurm says of itself: partitions, nodes, accounts; asked through its commands, which every site has."""

from __future__ import annotations

import dataclasses
import getpass
import re

from harmony_core.site.command import NOT_FOUND, Answer, Run, run
from harmony_core.site.demand import Demand

# How sinfo's short states of nodes begin that get no new job: down, drained, failing, kept for maintenance.
_OUT_OF_SERVICE = ("down", "drain", "drng", "fail", "unk", "inval", "maint")


@dataclasses.dataclass(frozen=True)
class Partition:
    """A partition.

    Args:
        name: its name.
        default: whether jobs that name none go here.
        state: UP, DOWN, DRAIN or INACTIVE.
        max_minutes: longest time of a job; None is no limit.
        max_nodes: most nodes of a job; None is no limit.
    """

    name: str
    default: bool
    state: str
    max_minutes: int | None
    max_nodes: int | None


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a partition.

    Args:
        name: its name.
        cpus: CPUs that Slurm counts.
        memory_mb: memory in MB.
        gpus: GPUs.
        features: what a job may ask for by `constraint`.
        in_service: whether it gets new jobs now.
    """

    name: str
    cpus: int
    memory_mb: int
    gpus: int
    features: frozenset[str]
    in_service: bool


class Slurm:
    """Asks Slurm's commands.

    Args:
        run: runs a command.
    """

    def __init__(self, run: Run = run) -> None:
        self.run = run

    def absent(self) -> list[str]:
        """Those of the commands needed that are not installed."""
        needed = ("sbatch", "squeue", "scancel", "srun", "scontrol", "sinfo")
        return [name for name in needed if self.run([name, "--version"]).code == NOT_FOUND]

    def version(self) -> str:
        """`slurm 22.05.8`."""
        return self.run(["sbatch", "--version"]).out.strip()

    def controller(self) -> Answer:
        """Whether a controller answers: exit code 0 and who it is, or why not."""
        return self.run(["scontrol", "ping"])

    def partitions(self) -> list[Partition]:
        """All partitions that this user may see."""
        out = self.run(["scontrol", "show", "partition", "--oneliner"]).out
        return [_partition(line) for line in out.splitlines() if line.startswith("PartitionName=")]

    def nodes(self, partition: str) -> list[Node]:
        """All nodes of a partition."""
        form = "--format=%N|%c|%m|%G|%f|%t"
        out = self.run(["sinfo", "--noheader", "--Node", f"--partition={partition}", form]).out
        return [_node(line) for line in out.splitlines() if line.count("|") >= 5]

    def accounts(self) -> list[str] | None:
        """The user's accounts; None where the site has no accounting to ask."""
        who = f"user={getpass.getuser()}"
        return self._accounting("show", "associations", who, "format=account")

    def qualities(self) -> list[str] | None:
        """Names of all qualities of service; None where the site has no accounting to ask."""
        return self._accounting("show", "qos", "format=name")

    def refusal(self, demand: Demand) -> str | None:
        """Why the scheduler would refuse such a job, in its own words; None when it takes it. Nothing is queued."""
        answer = self.run(["sbatch", "--test-only", *demand.flags(), "--wrap=true"])
        return None if answer.code == 0 else answer.reason

    def _accounting(self, *arguments: str) -> list[str] | None:
        answer = self.run(["sacctmgr", "--noheader", "--parsable2", *arguments])
        if answer.code:
            return None
        return sorted({line.strip() for line in answer.out.splitlines() if line.strip()})


def _partition(line: str) -> Partition:
    fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
    limit = fields.get("MaxNodes", "UNLIMITED")
    return Partition(
        name=fields["PartitionName"],
        default=fields.get("Default") == "YES",
        state=fields.get("State", "UP"),
        max_minutes=_minutes(fields.get("MaxTime", "UNLIMITED")),
        max_nodes=int(limit) if limit.isdecimal() else None,
    )


def _minutes(text: str) -> int | None:
    """Slurm's `days-hours:minutes:seconds`, in whole minutes."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes = (int(part or 0) for part in match.groups()[:3])
    return (days * 24 + hours) * 60 + minutes


def _node(line: str) -> Node:
    name, cpus, memory, gres, features, state = line.split("|")[:6]
    return Node(
        name=name,
        # A `+` stands behind the least of several nodes that share a line.
        cpus=int(cpus.rstrip("+")),
        memory_mb=int(memory.rstrip("+")),
        gpus=_gpus(gres),
        features=frozenset() if features == "(null)" else frozenset(features.split(",")),
        in_service=not state.startswith(_OUT_OF_SERVICE) and not state.endswith("*"),
    )


def _gpus(gres: str) -> int:
    """GPUs in `gpu:8`, `gpu:mi250x:8(S:0-7)` or `gpu:a:2,gpu:b:2`."""
    without_sockets = re.sub(r"\([^)]*\)", "", gres)
    counts = [part.split(":")[-1] for part in without_sockets.split(",") if part.split(":")[0] == "gpu"]
    return sum(int(count) if count.isdecimal() else 1 for count in counts)
