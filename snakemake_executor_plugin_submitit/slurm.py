"""Slurm as a :class:`Cluster`: submissions through submitit, one squeue for all jobs, one scancel for all."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from .backend import Resource
from .cluster import Function, Outlook, Refusal, Refused
from .folder import Folder
from .journal import Place
from .log import Log
from .refusals import held, hopeless, refusal, unconfigured, waits_for
from .resources import Parameters, slurm_parameters
from .sbatch import Submission
from .squeue import (
    HELD,
    NODES_FAULT,
    REQUEUED_FROM,
    NoAnswer,
    Queue,
    Row,
    accounted,
    in_batches,
    is_down,
    largest_array,
    queue,
    run,
)

REQUEUE_SECONDS = 30.0
"""How long a state that Slurm may leave by a requeue is watched before it counts as the end."""
REQUEUES = 3
"""So often Slurm is asked to requeue a job whose batch host is lost, before that is cancelled."""
UNREADABLE_SECONDS = 600.0
"""How long a job may be missing from answers that cannot be read in full: it may be in what cannot be read."""

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "srun")


class Slurm:
    """Jobs of Slurm.

    Args:
        folder: The executor's.
        log: Snakemake's logger.
        setup: Shell lines for the batch script.
        signal_seconds: Lead of SIGUSR2 ahead of the time limit.
        array_parallelism: How many members of an array may run at once.
        query_seconds: Least time between two questions to slurmctld.
        settle_seconds: How long the shared file system may take to show a file.
    """

    name = "slurm"

    def __init__(
        self,
        folder: Folder,
        log: Log,
        setup: str = "",
        signal_seconds: int = 300,
        array_parallelism: int = 256,
        query_seconds: float = 10.0,
        settle_seconds: float = 5.0,
    ) -> None:
        self._folder = folder
        self._log = log
        self._setup = setup
        self._signal_seconds = signal_seconds
        self._array_parallelism = array_parallelism
        self._query_seconds = query_seconds
        self._settle_seconds = settle_seconds
        self._asked = float("-inf")
        self._warned: set[str] = set()
        self._waits: set[str] = set()
        self._requeues = Counter[str]()
        self._largest_array: int | None = None

    @staticmethod
    def missing() -> list[str]:
        """Slurm's commands that are not on PATH."""
        return [command for command in COMMANDS if shutil.which(command) is None]

    @property
    def largest_array(self) -> int:
        """MaxArraySize, asked for once."""
        if self._largest_array is None:
            try:
                self._largest_array = largest_array()
            except NoAnswer as error:
                kind = Refused.FOREVER if unconfigured(str(error)) else Refused.NOW
                raise Refusal(kind, str(error)) from error
        return self._largest_array

    def parameters(self, resources: Mapping[str, Resource]) -> Parameters:
        """See :class:`Cluster`."""
        return slurm_parameters(resources, self._setup, self._signal_seconds)

    def submit(self, tag: str, parameters: Parameters, functions: Sequence[Function]) -> list[str]:
        """Submit an array; one of unknown fate is cancelled by its name. Arguments as for ``Cluster.submit``."""
        parameters = {
            "job_name": tag,
            "array_parallelism": min(self._array_parallelism, len(functions)),
            **parameters,
        }
        try:
            with Submission(self._folder, tag) as submission:
                ids = submission.sbatch(parameters, functions, run)
        except NoAnswer as error:
            refused = refusal(str(error), policy_may_pass=len(functions) > 1 or self._busy())
            if refused.kind is Refused.NOW:
                self._scancel(f"--name={tag}")
            raise refused from error
        except Exception:
            self._scancel(f"--name={tag}")
            raise
        self._log.info(f"Slurm job {ids[0].partition('_')[0]} ({tag}): {len(ids)} jobs of Snakemake.")
        return ids

    def look(self, places: Sequence[Place]) -> Mapping[Place, Outlook] | None:
        """See :class:`Cluster`."""
        now = time.monotonic()
        if now - self._asked < self._query_seconds:
            return None
        self._asked = now
        try:
            answer = queue()
        except NoAnswer as error:
            self._warn("no answer", f"Slurm does not answer, asking again: {error}")
            return None
        self._warned.discard("no answer")
        self._tell_unreadable(answer)
        by_id = _by_id(answer.rows)
        by_name = {(row.name, row.index): row for row in by_id.values()}
        found = {
            place: by_id.get(place.job_id) if place.job_id else by_name.get((place.tag, place.index))
            for place in places
        }
        self._tell_waiting([row for row in found.values() if row is not None and row.state == "PENDING"])
        self._give_back([row for row in found.values() if row is not None and row.lacks_batch_host])
        forgotten = [place.job_id for place, row in found.items() if row is None and place.job_id]
        ended = accounted(forgotten) if forgotten else {}
        missing = UNREADABLE_SECONDS if answer.unreadable else REQUEUE_SECONDS
        return {
            place: self._outlook(row) if row else self._forgotten(ended.get(place.job_id or ""), missing)
            for place, row in found.items()
        }

    def cancel(self, places: Sequence[Place]) -> None:
        """See :class:`Cluster`."""
        for ids in in_batches([place.job_id for place in places if place.job_id]):
            self._scancel(*ids)
        for tag in {place.tag for place in places if not place.job_id}:
            self._scancel(f"--name={tag}")

    def may_live(self, place: Place) -> bool:
        """See :class:`Cluster`: the next look tells."""
        return True

    def files(self, place: Place) -> Path | None:
        """See :class:`Cluster`."""
        return self._folder.submission(place.tag) / place.job_id if place.job_id else None

    def close(self) -> None:
        """See :class:`Cluster`: Slurm ends what was cancelled."""

    def _give_back(self, rows: Sequence[Row]) -> None:
        """Requeue jobs whose command was lost with its node, as nobody else may be left to; cancel what stays so."""
        asked, self._requeues = self._requeues, Counter()
        for row in rows:
            # The list of nodes alone is too little to end a job for.
            if not is_down(row.batch_host):
                continue
            if asked[row.job_id] == REQUEUES:
                self._scancel(row.job_id)
                continue
            self._requeues[row.job_id] = asked[row.job_id] + 1
            lost = f"Slurm job {row.job_id} was lost with {row.batch_host}, and Slurm keeps the rest of its nodes"
            try:
                run("scontrol", "requeue", row.job_id)
                self._log.info(f"{lost}: requeued.")
            except NoAnswer as error:
                self._log.warning(f"{lost}: not requeued ({error}).")

    def _outlook(self, row: Row) -> Outlook:
        if words := row.over:
            settle = REQUEUE_SECONDS if row.state in REQUEUED_FROM else 0.0
            nodes = row.nodes if row.state in NODES_FAULT else ""
            return Outlook(
                True, f"{row.state}: {words}", max(settle, self._settle_seconds), job_id=row.job_id, suspects=nodes
            )
        if row.state == "PENDING" and (words := hopeless(row.reason)):
            return Outlook(True, words, hopeless=True, job_id=row.job_id)
        if row.state in HELD or (row.state == "PENDING" and held(row.reason)):
            self._warn(row.reason, f"Slurm job {row.job_id} waits: {row.reason}")
        return Outlook(over=False, job_id=row.job_id)

    def _forgotten(self, state: str | None, settle_seconds: float) -> Outlook:
        said = f"{state} by sacct" if state else "squeue does not list it"
        return Outlook(True, f"Slurm no longer knows it ({said})", max(settle_seconds, self._settle_seconds))

    def _tell_unreadable(self, answer: Queue) -> None:
        if answer.unreadable:
            lines = "a line" if answer.unreadable == 1 else f"{answer.unreadable} lines"
            self._warn("unreadable", f"squeue: passed over {lines} that cannot be read")
        else:
            self._warned.discard("unreadable")

    def _tell_waiting(self, pending: Sequence[Row]) -> None:
        """Say what jobs wait for, whenever that is something else."""
        waits = Counter(words for row in pending if (words := waits_for(row.reason)) is not None)
        if waits and waits.keys() != self._waits:
            told = ", ".join(f"{count} for {words}" for words, count in waits.most_common())
            self._log.info(f"Waiting in Slurm's queue: {told}")
        elif self._waits and not waits:
            self._log.info("Nothing waits in Slurm's queue any more.")
        self._waits = set(waits)

    def _busy(self) -> bool:
        try:
            return any(row.over is None for row in queue().rows)
        except NoAnswer:
            return True

    def _scancel(self, *selection: str) -> None:
        try:
            run("scancel", f"--user={os.getuid()}", *selection)
        except NoAnswer as error:
            shown = selection if len(selection) <= 3 else (*selection[:3], f"and {len(selection) - 3} more")
            self._log.warning(f"scancel {' '.join(shown)}: {error}")

    def _warn(self, topic: str, words: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            self._log.warning(words)


def _by_id(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows by their id; of two of one id (a name may hold a line's end) that which ends nothing."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.job_id not in found or row.over is None:
            found[row.job_id] = row
    return found


def leave_slurm_job(environment: MutableMapping[str, str]) -> None:
    """Forget the Slurm job that Snakemake itself may run in: sbatch and srun would take its limits for the new job's.

    SLURM_CONF stays, which says where Slurm is.
    """
    if "SLURM_JOB_ID" not in environment:
        return
    for name in [name for name in environment if name.startswith(("SLURM_", "SLURMD_"))]:
        if name != "SLURM_CONF":
            del environment[name]
