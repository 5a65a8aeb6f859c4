"""Snakemake's own process as a :class:`Cluster`: one job after the other, in submitit's debug executor."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import submitit

from .backend import Resource
from .cluster import Function, Outlook, Refusal, Refused
from .folder import Folder
from .journal import Place
from .resources import Parameters
from .runner import Runner


class Debug:
    """Jobs that have ended when they are submitted.

    Args:
        folder: The executor's.
    """

    name = "debug"
    largest_array = 1

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._cancelled = False
        self._running: Runner | None = None

    def parameters(self, resources: Mapping[str, Resource]) -> Parameters:
        """See :class:`Cluster`: nothing can be asked for."""
        return {}

    def submit(self, tag: str, parameters: Parameters, functions: Sequence[Function]) -> list[str]:
        """Run functions here, one after the other; arguments as for ``Cluster.submit``."""
        executor = submitit.DebugExecutor(self._folder.submitit(tag))
        ids = []
        for function in functions:
            assert isinstance(function, Runner)
            self._running = function
            if self._cancelled:
                raise Refusal(Refused.FOREVER, "cancelled")
            job = executor.submit(function.run)
            # result() would open a debugger in a thread of Snakemake.
            if error := job.exception():
                raise error
            ids.append(job.job_id)
        return ids

    def look(self, places: Sequence[Place]) -> Mapping[Place, Outlook] | None:
        """See :class:`Cluster`."""
        return {place: Outlook(True, "it ended without a state file") for place in places}

    def cancel(self, places: Sequence[Place]) -> None:
        """See :class:`Cluster`: the one that runs, and all that would follow."""
        self._cancelled = True
        if self._running is not None:
            self._running.stop()

    def may_live(self, place: Place) -> bool:
        """See :class:`Cluster`: it ended with Snakemake."""
        return False

    def files(self, place: Place) -> Path | None:
        """See :class:`Cluster`: one job a submission."""
        return self._folder.submission(place.tag)

    def close(self) -> None:
        """See :class:`Cluster`."""
