"""A Slurm that answers from a script, with the words of a real one (22.05)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from harmony_core.slurm.command import NOT_FOUND, Answer

PARTITIONS = (
    "PartitionName=batch AllowGroups=ALL Default=YES QoS=N/A MaxNodes=4 MaxTime=02:00:00 Nodes=n[1-4] State=UP\n"
    "PartitionName=long AllowGroups=ALL Default=NO QoS=N/A MaxNodes=UNLIMITED MaxTime=1-12:30:00 Nodes=n1 State=UP\n"
    "PartitionName=old AllowGroups=ALL Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED Nodes=n4 State=DOWN\n"
)
NODES = (
    "n1|64|256000|gpu:8|nvme,a100|idle\n"
    "n2|64|256000|gpu:a100:8(S:0-7)|nvme|mix\n"
    "n3|32|128000|(null)|(null)|alloc\n"
    "n4|64|256000|gpu:8|nvme|down*\n"
)
ANSWERS: dict[str, Answer] = {
    "sbatch --version": Answer(0, "slurm 22.05.8\n"),
    "sbatch --test-only": Answer(0, "", "sbatch: Job 7 to start at 2026-11-22T01:40:10 using 4 processors\n"),
    "scontrol ping": Answer(0, "Slurmctld(primary) at host is UP\n"),
    "scontrol show partition": Answer(0, PARTITIONS),
    "sinfo --noheader --Node": Answer(0, NODES),
    "sacctmgr": Answer(1, "", "You are not running a supported accounting_storage plugin\n"),
    "sacct": Answer(1, "", "Slurm accounting storage is disabled\n"),
}
ACCOUNTING = {
    "sacctmgr --noheader --parsable2 show associations": Answer(0, "abc123\nxyz789\nabc123\n"),
    "sacctmgr --noheader --parsable2 show qos": Answer(0, "debug\nnormal\n"),
    "sacct": Answer(0, ""),
}


@dataclasses.dataclass
class FakeRun:
    """Answers a command by the longest beginning of it that is known; keeps what was asked."""

    answers: dict[str, Answer]
    asked: list[list[str]] = dataclasses.field(default_factory=list)

    def __call__(self, command: Sequence[str], limit: float = 0.0) -> Answer:
        self.asked.append(list(command))
        line = " ".join(command)
        known = [beginning for beginning in self.answers if line.startswith(beginning)]
        if not known:
            return (
                Answer(0) if command[-1] == "--version" else Answer(NOT_FOUND, "", f"{command[0]}: command not found")
            )
        return self.answers[max(known, key=len)]


def fake_slurm(**changed: Any) -> FakeRun:
    """A Slurm without accounting; `changed` replaces answers."""
    return FakeRun({**ANSWERS, **changed})
