"""The job that this process is in, as its environment and the controller tell of it."""

from __future__ import annotations

import ipaddress
import os

from harmony_core.slurm.command import Answer, run

_LIMIT_SECONDS = 20.0
# sinfo's states begin with these where a node runs nothing any more. A node that was being drained is never called
# down.
_LOST = ("down", "drained", "failed", "fail*")
_UNKNOWN_SECONDS = 60.0


def num_nodes() -> int:
    """Nodes of this allocation."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))


def nodes_left() -> int:
    """Nodes that this allocation still has: with --no-kill it goes on without those that are lost."""
    try:
        return int(_of_job("%D"))
    except ValueError:
        return num_nodes()


def seconds_left() -> float:
    """How long this allocation still has, by the controller's own clock; a minute where nobody can say."""
    try:
        return parse_time(_of_job("%L"))
    except ValueError:
        return _UNKNOWN_SECONDS


def seconds_used() -> float:
    """How long this allocation has lasted, by the controller's own clock; 0 where nobody can say."""
    try:
        return parse_time(_of_job("%M"))
    except ValueError:
        return 0.0


def is_lost(node: str) -> bool:
    """Whether Slurm says that a node is down; no answer is no word of it."""
    return _ask("sinfo", "--noheader", f"--nodes={node}", "--format=%T").out.strip().startswith(_LOST)


def requeue_or_cancel() -> None:
    """Gives this allocation back: some sites let nobody requeue, and a cancelled job is submitted again by its owner.

    Others may ask for the same. Whoever comes second is refused, since the job is queued already.
    """
    job = os.environ["SLURM_JOB_ID"]
    if _ask("scontrol", "requeue", job).code and _of_job("%T") == "RUNNING":
        _ask("scancel", job)


def address_of(node: str) -> str | None:
    """A node's address in Slurm's books (`n1: 10.0.0.1:6818`); None where there is none, or nobody answers."""
    try:
        return str(ipaddress.IPv4Address(_ask("scontrol", "getaddrs", node).out.split()[-1].rpartition(":")[0]))
    except (IndexError, ValueError):
        return None


def parse_time(text: str) -> float:
    """Seconds of Slurm's `days-hours:minutes:seconds`; ValueError for what is no time."""
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return float(seconds + 86400 * int(days or 0))


def _of_job(form: str) -> str:
    return _ask("squeue", "--noheader", f"--format={form}", f"--jobs={os.environ['SLURM_JOB_ID']}").out.strip()


def _ask(*command: str) -> Answer:
    """An answer whose output counts only where the command succeeded."""
    answer = run(command, _LIMIT_SECONDS)
    return answer if answer.code == 0 else Answer(answer.code)
