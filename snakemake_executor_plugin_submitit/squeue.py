"""Questions to Slurm: about all jobs of this user at once, and what its answers mean.

What Slurm's commands print is bytes: anybody's job may have any name, and a command may print anything. A line that
cannot be read is passed over and counted.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ANSWER_SECONDS = 60.0
"""Slurm's own commands give up after MessageTimeout, 10 s by default; this is for those that hang."""

# In these base states a job does not run and is not queued (https://slurm.schedmd.com/job_state_codes.html).
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
NODES_FAULT = {"BOOT_FAIL", "FAILED", "NODE_FAIL"}
"""States of a job without an end of its own that may have been its node's doing."""
IDS_AT_ONCE = 500
"""Ids on one command line, which the kernel gives 128 KiB."""

_ROW = re.compile(rb"([0-9]{1,20})\|([^|]{1,100})\|([A-Z_]{1,40})\|([^|]*)\|([^|]*)\|([^|]*)\|(.*)", re.DOTALL)
# sinfo's states of a node that runs nothing any more; one that was being drained is never called down.
_DOWN = (b"down", b"drained", b"failed", b"fail*")
_PART = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_ACCOUNTED = re.compile(rb"([0-9]{1,20}(?:_[0-9]{1,20})?)\|([A-Z_]{1,40}\b)[^|]*")


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
    nodes: str = ""
    """As Slurm writes a list of nodes; empty before it has any."""
    batch_host: str = ""
    """The node of the batch script."""

    @property
    def lacks_batch_host(self) -> bool:
        """Whether it runs on without the node of its batch script.

        With `--no-kill` Slurm takes a lost node out of the allocation and keeps the rest, also where that node ran the
        script; it does so for good, and shows the job and its steps as running (seen in 22.05).
        """
        if self.state != "RUNNING" or not self.nodes or not self.batch_host:
            return False
        return not among(self.batch_host, self.nodes)

    @property
    def over(self) -> str | None:
        """What it means that the job does not run any more; None while it may."""
        return _OVER.get(self.state)


@dataclass(frozen=True)
class Queue:
    """All jobs of this user that Slurm remembers."""

    rows: Sequence[Row]
    unreadable: int = 0
    """Lines that nothing could be made of: a job that is not among the rows may be in one of them."""


def queue() -> Queue:
    """All jobs of this user that Slurm remembers, the ended ones too.

    Raises:
        NoAnswer: slurmctld is away, or too busy.
    """
    return parse_queue(
        run(
            *("squeue", f"--user={os.getuid()}", "--all", "--array", "--states=all", "--noheader"),
            "--format=%F|%K|%T|%r|%N|%B|%j",
        )
    )


def parse_queue(answer: bytes) -> Queue:
    """Rows of squeue's answer."""
    lines = [line for line in answer.split(b"\n") if line.strip()]
    rows = [row for line in lines if (row := _row(line)) is not None]
    return Queue(rows, len(lines) - len(rows))


def run(*command: str, limit: float | None = None) -> bytes:
    """Output of one of Slurm's commands.

    Args:
        command: Its name and arguments.
        limit: Seconds that it may take; None is `ANSWER_SECONDS`.

    Raises:
        NoAnswer: It could not be started, failed, or took too long.
    """
    limit = ANSWER_SECONDS if limit is None else limit
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} gave no answer in {limit:.0f} s") from None
    except OSError as error:
        # There may be no process to be had at the moment (EAGAIN), or a file system that does not show the program.
        raise NoAnswer(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        raise NoAnswer(words(done.stderr) or f"{command[0]} failed with exit code {done.returncode}")
    return done.stdout


def words(said: bytes) -> str:
    """What a command said, fit for a log: its lines, of printable characters alone."""
    lines = (" ".join(line.split()) for line in said.decode(errors="replace").splitlines())
    return "\n".join("".join(one for one in line if one.isprintable()) for line in lines if line)[:2000]


def is_down(node: str) -> bool:
    """Whether Slurm says that a node runs nothing any more; no answer is no word of it."""
    try:
        return run("sinfo", "--noheader", f"--nodes={node}", "--format=%T").strip().startswith(_DOWN)
    except NoAnswer:
        return False


def among(node: str, nodes: str) -> bool:
    """Whether a list of nodes as Slurm writes it (`login,n[01-12,20]`) holds this one."""
    return any(_is_of(node, part) for part in _PART.findall(nodes))


def _is_of(node: str, part: str) -> bool:
    text = _BRACKETS.split(part)
    match = re.fullmatch("([0-9]+)".join(map(re.escape, text[::2])), node)
    return match is not None and all(map(_in_range, match.groups(), text[1::2]))


def _in_range(number: str, ranges: str) -> bool:
    """Whether `01-12,20` holds a number; how many digits the first has, each has at least."""
    for one in ranges.split(","):
        first, _, last = one.partition("-")
        try:
            if int(first) <= int(number) <= int(last or first) and number == f"{int(number):0{len(first)}d}":
                return True
        except ValueError:
            continue
    return False


def accounted(job_ids: Sequence[str]) -> dict[str, str]:
    """States by sacct of jobs that slurmctld has forgotten; nothing at a site without accounting."""
    found: dict[str, str] = {}
    for ids in in_batches(job_ids):
        try:
            answer = run(
                "sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State", f"--jobs={','.join(ids)}"
            )
        except NoAnswer:
            return found
        found |= parse_accounted(answer)
    return found


def parse_accounted(answer: bytes) -> dict[str, str]:
    """States by job id of sacct's answer; `CANCELLED by 1000` is a cancelled job."""
    matches = (_ACCOUNTED.fullmatch(line) for line in answer.split(b"\n"))
    return {match[1].decode(): match[2].decode() for match in matches if match}


def in_batches(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Ids as far as they fit on a command line."""
    for begin in range(0, len(job_ids), IDS_AT_ONCE):
        yield job_ids[begin : begin + IDS_AT_ONCE]


def largest_array() -> int:
    """MaxArraySize of this cluster; Slurm's own default where it does not say.

    Raises:
        NoAnswer: slurmctld is away, or too busy, or says nothing that can be understood.
    """
    return parse_largest_array(run("scontrol", "show", "config"))


def parse_largest_array(answer: bytes) -> int:
    """MaxArraySize in scontrol's answer.

    Raises:
        NoAnswer: It has a value that is no number.
    """
    match = re.search(rb"^[ \t]*MaxArraySize[ \t]*=[ \t]*(.*?)[ \t]*$", answer, re.MULTILINE)
    if match is None:
        return 1001
    if not re.fullmatch(rb"[0-9]{1,10}", match[1]):
        raise NoAnswer(f"scontrol show config: MaxArraySize = {words(match[1])[:100]}")
    return max(1, int(match[1]))


def _row(line: bytes) -> Row | None:
    match = _ROW.fullmatch(line)
    if match is None:
        return None
    # The plugin's own names are ASCII or UTF-8; what another job's name was meant to be does not matter.
    first, index, state, reason, nodes, host, name = (field.decode(errors="replace") for field in match.groups())
    member = re.fullmatch("[0-9]{1,20}", index)
    return Row(f"{first}_{index}" if member else first, name, int(index) if member else 0, state, reason, nodes, host)
