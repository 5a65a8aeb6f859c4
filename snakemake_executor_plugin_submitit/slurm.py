"""Slurm as a :class:`Cluster`: submissions through submitit, one squeue for all jobs, one scancel for all."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence

import submitit

from . import launch
from .backend import Resource
from .cluster import Function, Outlook, Refusal, Refused
from .folder import Folder
from .journal import Place
from .log import Log
from .refusals import held, hopeless, refusal, unconfigured
from .resources import Parameters, slurm_parameters
from .squeue import HELD, REQUEUED_FROM, NoAnswer, Row, accounted, largest_array, queue, run

REQUEUE_SECONDS = 30.0
"""How long a state that Slurm may leave by a requeue is watched before it counts as the end."""

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
        """See :class:`Cluster`.

        Functions are pickled, and moved to where their jobs look for them when sbatch has named the job: what a
        submission of unknown fate left in the queue has nothing to run. It is cancelled all the same.
        """
        python = f"{shlex.quote(sys.executable)} -u -m {launch.__name__}"
        executor = submitit.SlurmExecutor(self._folder.submitit, python=python)
        executor.update_parameters(
            job_name=tag, array_parallelism=min(self._array_parallelism, len(functions)), **parameters
        )
        try:
            ids = [job.job_id for job in executor.submit_array(functions)]
        except submitit.core.utils.FailedJobError as error:
            refused = refusal(str(error), policy_may_pass=len(functions) > 1 or self._busy())
            if refused.kind is Refused.NOW or not str(error):
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
            rows = queue()
        except NoAnswer as error:
            self._warn("no answer", f"Slurm does not answer, asking again: {error}")
            return None
        self._warned.discard("no answer")
        by_id = {row.job_id: row for row in rows}
        by_name = {(row.name, row.index): row for row in rows}
        found = {
            place: by_id.get(place.job_id) if place.job_id else by_name.get((place.tag, place.index))
            for place in places
        }
        forgotten = [place.job_id for place, row in found.items() if row is None and place.job_id]
        ended = accounted(forgotten) if forgotten else {}
        return {
            place: self._outlook(row) if row else self._forgotten(ended.get(place.job_id or ""))
            for place, row in found.items()
        }

    def cancel(self, places: Sequence[Place]) -> None:
        """See :class:`Cluster`."""
        if ids := [place.job_id for place in places if place.job_id]:
            self._scancel(*ids)
        for tag in {place.tag for place in places if not place.job_id}:
            self._scancel(f"--name={tag}")

    def may_live(self, place: Place) -> bool:
        """See :class:`Cluster`: the next look tells."""
        return True

    def files(self, job_id: str) -> tuple[str, ...]:
        """See :class:`Cluster`."""
        paths = submitit.core.utils.JobPaths(self._folder.submitit, job_id)
        return tuple(str(path) for path in (paths.stdout, paths.stderr) if path.exists())

    def close(self) -> None:
        """See :class:`Cluster`: Slurm ends what was cancelled."""

    def _outlook(self, row: Row) -> Outlook:
        if words := row.over:
            settle = REQUEUE_SECONDS if row.state in REQUEUED_FROM else 0.0
            return Outlook(True, f"{row.state}: {words}", max(settle, self._settle_seconds), job_id=row.job_id)
        if row.state == "PENDING" and (words := hopeless(row.reason)):
            return Outlook(True, words, hopeless=True, job_id=row.job_id)
        if row.state in HELD or (row.state == "PENDING" and held(row.reason)):
            self._warn(row.reason, f"Slurm job {row.job_id} waits: {row.reason}")
        return Outlook(over=False, job_id=row.job_id)

    def _forgotten(self, state: str | None) -> Outlook:
        said = f"{state} by sacct" if state else "squeue does not list it"
        return Outlook(True, f"Slurm no longer knows it ({said})", max(REQUEUE_SECONDS, self._settle_seconds))

    def _busy(self) -> bool:
        try:
            return any(row.over is None for row in queue())
        except NoAnswer:
            return True

    def _scancel(self, *selection: str) -> None:
        try:
            run("scancel", f"--user={os.getuid()}", *selection)
        except NoAnswer as error:
            self._log.warning(f"scancel {' '.join(selection)}: {error}")

    def _warn(self, topic: str, words: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            self._log.warning(words)


def leave_slurm_job(environment: MutableMapping[str, str]) -> None:
    """Forget the Slurm job that Snakemake itself may run in: sbatch and srun would take its limits for the new job's.

    SLURM_CONF stays, which says where Slurm is.
    """
    if "SLURM_JOB_ID" not in environment:
        return
    for name in [name for name in environment if name.startswith(("SLURM_", "SLURMD_"))]:
        if name != "SLURM_CONF":
            del environment[name]
