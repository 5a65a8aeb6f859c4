"""One question to Slurm about all jobs of this user, and what a state means."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

ANSWER_SECONDS = 60.0
"""Slurm's own commands give up after MessageTimeout, 10 s by default; this is for those that hang."""

# https://slurm.schedmd.com/job_state_codes.html: base states in which a job does not run and is not queued.
_OVER = {
    "BOOT_FAIL": "its node did not boot",
    "CANCELLED": "it was cancelled (scancel)",
    "COMPLETED": "it ended, but its state file is not there: is the executor's folder on a shared file system?",
    "DEADLINE": "it ended at its deadline",
    "FAILED": "it ended before the command could be run or its end be recorded",
    "NODE_FAIL": "a node failed, and Slurm did not requeue it",
    "OUT_OF_MEMORY": "it ran out of memory: give resource mem_mb a larger value",
    "PREEMPTED": "it was preempted, and Slurm did not requeue it",
    "REVOKED": "another cluster took it",
    "TIMEOUT": "it ran into its time limit: give resource runtime (minutes) a larger value",
}
HELD = {"REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
"""States of a job that is queued and waits for somebody to act."""
REQUEUED_FROM = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"}
"""States that Slurm may leave again by a requeue."""


class NoAnswer(Exception):
    """Slurm did not answer; the text says what its command said."""


@dataclass(frozen=True)
class Row:
    """A job, or one member of an array."""

    job_id: str
    """As submitit names it: ``123`` or ``123_4``."""
    name: str
    index: int
    state: str
    reason: str

    @property
    def over(self) -> str | None:
        """What it means that the job does not run any more; None while it may."""
        return _OVER.get(self.state)


def queue() -> list[Row]:
    """All jobs of this user that Slurm remembers, the ended ones too.

    Raises:
        NoAnswer: slurmctld is away, or too busy.
    """
    answer = run(
        *("squeue", f"--user={os.getuid()}", "--all", "--array", "--states=all", "--noheader"),
        "--format=%F|%K|%T|%r|%j",
    )
    return [_row(line) for line in answer.splitlines() if line.count("|") >= 4]


def run(*command: str) -> str:
    """Output of one of Slurm's commands.

    Raises:
        NoAnswer: It failed, or took too long.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} gave no answer in {ANSWER_SECONDS:.0f} s") from None
    if done.returncode:
        raise NoAnswer(" ".join(done.stderr.split()) or f"{command[0]} failed with exit code {done.returncode}")
    return done.stdout


def accounted(job_ids: Sequence[str]) -> dict[str, str]:
    """States by sacct of jobs that slurmctld has forgotten; nothing at a site without accounting."""
    try:
        answer = run(
            "sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State", f"--jobs={','.join(job_ids)}"
        )
    except (NoAnswer, FileNotFoundError):
        return {}
    pairs = (line.split("|", 1) for line in answer.splitlines() if "|" in line)
    # "CANCELLED by 1000"
    return {job_id: state.split()[0] for job_id, state in pairs if state}


def largest_array() -> int:
    """MaxArraySize of this cluster; Slurm's own default where it does not say."""
    for line in run("scontrol", "show", "config").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize":
            return max(1, int(value))
    return 1001


def _row(line: str) -> Row:
    first, index, state, reason, name = line.split("|", 4)
    member = index.isdigit()
    return Row(f"{first}_{index}" if member else first, name, int(index) if member else 0, state, reason)
