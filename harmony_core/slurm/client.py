"""What Slurm says of itself: partitions, nodes, accounts; asked through its commands, which every site has."""

from __future__ import annotations

import dataclasses
import getpass
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from harmony_core.slurm.command import NOT_FOUND, Answer, Run, run

# sinfo's short states begin with these where a node gets no new job: down, drained, failing, kept for maintenance.
_OUT_OF_SERVICE = ("down", "drain", "drng", "fail", "unk", "inval", "maint")
_NUMBER = re.compile("[0-9]{1,15}")

Parsed = TypeVar("Parsed")


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
        self.unreadable: Counter[str] = Counter()
        """Lines of each command's answers that were passed over, since nothing could be made of them."""

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
        return self._read("scontrol", out, parse_partition)

    def nodes(self, partition: str) -> list[Node]:
        """All nodes of a partition."""
        form = "--format=%N|%c|%m|%G|%f|%t"
        out = self.run(["sinfo", "--noheader", "--Node", f"--partition={partition}", form]).out
        return self._read("sinfo", out, parse_node)

    def accounts(self) -> list[str] | None:
        """The user's accounts; None where the site has no accounting to ask."""
        who = f"user={getpass.getuser()}"
        return self._accounting("show", "associations", who, "format=account")

    def qualities(self) -> list[str] | None:
        """Names of all qualities of service; None where the site has no accounting to ask."""
        return self._accounting("show", "qos", "format=name")

    def refusal(self, flags: Sequence[str]) -> str | None:
        """Why a job with these flags would be refused, in the scheduler's words; None where not. Nothing is queued."""
        answer = self.run(["sbatch", "--test-only", *flags, "--wrap=true"])
        return None if answer.code == 0 else answer.reason

    def _read(self, command: str, out: str, parse: Callable[[str], Parsed | None]) -> list[Parsed]:
        """What can be understood of an answer's lines."""
        lines = [line for line in out.split("\n") if line.strip()]
        parsed = [found for line in lines if (found := parse(line)) is not None]
        if len(parsed) < len(lines):
            self.unreadable[command] += len(lines) - len(parsed)
        return parsed

    def _accounting(self, *arguments: str) -> list[str] | None:
        answer = self.run(["sacctmgr", "--noheader", "--parsable2", *arguments])
        if answer.code:
            return None
        return sorted({line.strip() for line in answer.out.splitlines() if line.strip() and line.isprintable()})


def parse_partition(line: str) -> Partition | None:
    """A line of `scontrol show partition --oneliner`; None for anything else."""
    fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
    name, state = fields.get("PartitionName", ""), fields.get("State", "UP")
    if not re.fullmatch(rf"\s*PartitionName={re.escape(name)}(\s.*)?", line, re.DOTALL) or not _is_name(name):
        return None
    limit = fields.get("MaxNodes", "UNLIMITED")
    return Partition(
        name=name,
        default=fields.get("Default") == "YES",
        state=state if _is_name(state) else "unknown",
        max_minutes=_minutes(fields.get("MaxTime", "UNLIMITED")),
        max_nodes=int(limit) if _NUMBER.fullmatch(limit) else None,
    )


def _is_name(text: str) -> bool:
    """Whether Slurm could call anything so; what was no text holds the mark of that."""
    return bool(text) and text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text


def _minutes(text: str) -> int | None:
    """Slurm's `days-hours:minutes:seconds`, in whole minutes."""
    match = re.fullmatch(r"(?:([0-9]{1,9})-)?([0-9]{1,9}):([0-9]{1,9}):([0-9]{1,9})", text)
    if match is None:
        return None
    days, hours, minutes = (int(part or 0) for part in match.groups()[:3])
    return (days * 24 + hours) * 60 + minutes


def parse_node(line: str) -> Node | None:
    """A line of `sinfo --format=%N|%c|%m|%G|%f|%t`; None for anything else."""
    parts = line.split("|")
    # sinfo puts a `+` behind the least of several nodes that share a line.
    counts = [part.removesuffix("+") for part in parts[1:3]]
    if len(parts) != 6 or not _is_name(parts[0]) or not all(map(_NUMBER.fullmatch, counts)):
        return None
    name, _, _, gres, features, state = parts
    return Node(
        name=name,
        cpus=int(counts[0]),
        memory_mb=int(counts[1]),
        gpus=_gpus(gres),
        features=frozenset() if features == "(null)" else frozenset(filter(_is_name, features.split(","))),
        in_service=not state.startswith(_OUT_OF_SERVICE) and not state.endswith("*"),
    )


def _gpus(gres: str) -> int:
    """GPUs in `gpu:8`, `gpu:mi250x:8(S:0-7)` or `gpu:a:2,gpu:b:2`."""
    without_sockets = re.sub(r"\([^)]*\)", "", gres)
    counts = [part.split(":")[-1] for part in without_sockets.split(",") if part.split(":")[0] == "gpu"]
    return sum(int(count) if _NUMBER.fullmatch(count) else 1 for count in counts)
