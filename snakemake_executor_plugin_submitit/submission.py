"""A thread that submits, so that neither Snakemake nor its status checks wait for a scheduler that is away or full."""

import json
import threading
import uuid
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from .backend import Work
from .cluster import Cluster, Function, Refusal, Refused
from .journal import Journal, Place
from .log import Log
from .resources import Parameters
from .shared_files import is_passing

LONGEST_PAUSE_SECONDS = 60.0
MOST_TRIES = 10
"""So often what may be in vain is tried; with the pauses between them, some seven minutes."""
LAST_SUBMISSION_SECONDS = 180.0
"""sbatch itself goes on for two minutes where slurmctld is busy."""


@dataclass
class Batch:
    """Works that want the same parameters."""

    parameters: Parameters
    works: list[Work]
    doubts: int = 0
    """How often in a row it was refused in words that may pass, or may not."""


class Submitter:
    """Submits batches in order: as one array each, or as few as the scheduler's limits allow.

    What the scheduler does not take now is tried again after a pause: for as long as it takes where it is away or full,
    and a few times where nobody knows.

    Args:
        cluster: Where to.
        function: Makes what submitit runs for a work.
        journal: Told of a submission before it is made, and after.
        log: Snakemake's logger.
        submitted: Called with a submission's works when the journal has their places.
        refused: Called with works that will never run, and why.
        pause_seconds: First pause; each further one is twice as long, up to a minute.
    """

    def __init__(
        self,
        cluster: Cluster,
        function: Callable[[Work], Function],
        journal: Journal,
        log: Log,
        submitted: Callable[[Sequence[Work]], None],
        refused: Callable[[Sequence[Work], str], None],
        pause_seconds: float = 5.0,
    ) -> None:
        self._cluster = cluster
        self._function = function
        self._journal = journal
        self._log = log
        self._submitted = submitted
        self._refused = refused
        self._first_pause = self._pause = pause_seconds
        self._most: int | None = None
        self._batches: deque[Batch] = deque()
        self._condition = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="submitit", daemon=True)
        self._thread.start()

    def add(self, batches: Sequence[Batch]) -> None:
        """Submit these after what is waiting."""
        with self._condition:
            self._batches.extend(batches)
            self._condition.notify()

    def withdraw(self, keys: Collection[str]) -> set[str]:
        """Take back works that wait to be submitted; returns their keys."""
        withdrawn = set()
        with self._condition:
            for batch in self._batches:
                withdrawn |= {work.key for work in batch.works if work.key in keys}
                batch.works = [work for work in batch.works if work.key not in keys]
            self._batches = deque(batch for batch in self._batches if batch.works)
        return withdrawn

    def close(self) -> None:
        """End the thread, after the submission that it is making."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(LAST_SUBMISSION_SECONDS)
        if self._thread.is_alive():
            self._log.warning("A submission does not end; look for jobs of this workflow in the queue.")

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            try:
                self._submit(batch)
            except Refusal as refusal:
                self._learn(batch, refusal)
            except Exception as error:
                # Whatever went wrong, Snakemake has to hear of it, and this thread has to take the next batch.
                words = f"submission failed: {type(error).__name__}: {error}"
                kind = Refused.NOW if is_passing(error) else Refused.FOREVER
                self._learn(batch, Refusal(kind, words, doubtful=True))

    def _next(self) -> Batch | None:
        """As much of the first batch as may go at once; None at the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._batches or self._closing)
            if self._closing:
                return None
            return self._batches.popleft()

    def _submit(self, batch: Batch) -> None:
        most = self._cluster.largest_array if self._most is None else min(self._most, self._cluster.largest_array)
        if len(batch.works) > most:
            self._put_back(Batch(batch.parameters, batch.works[most:]))
            del batch.works[most:]
        tag = f"{_common_name(batch.works)}-{uuid.uuid4().hex[:8]}"
        self._journal.begin(tag, self._cluster.name, batch.works)
        ids = self._cluster.submit(tag, batch.parameters, [self._function(work) for work in batch.works])
        try:
            self._journal.submitted(tag, ids)
        except OSError:
            # The disk is full. A job that no journal knows of would run beside its next try, so it is cancelled.
            self._cluster.cancel([Place(self._cluster.name, tag, index, job) for index, job in enumerate(ids)])
            raise
        self._pause = self._first_pause
        if self._most is not None:
            self._most *= 2
        self._submitted(batch.works)

    def _learn(self, batch: Batch, refusal: Refusal) -> None:
        batch.doubts = batch.doubts + 1 if refusal.doubtful else 0
        if refusal.kind is Refused.FOREVER:
            self._refused(batch.works, str(refusal))
            return
        if batch.doubts >= MOST_TRIES:
            self._pause = self._first_pause
            self._refused(batch.works, f"{self._cluster.name} took it in none of {batch.doubts} tries: {refusal}")
            return
        self._put_back(batch)
        if refusal.kind is Refused.SO_MANY and len(batch.works) > 1:
            self._most = len(batch.works) // 2
            return
        if self._pause == self._first_pause:
            self._log.warning(f"{self._cluster.name} takes no job now, trying again: {refusal}")
        with self._condition:
            self._condition.wait_for(lambda: self._closing, self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _put_back(self, batch: Batch) -> None:
        with self._condition:
            self._batches.appendleft(batch)


def batches(works: Sequence[tuple[Work, Parameters]]) -> list[Batch]:
    """Group works by equal parameters, in order of their first."""
    found: dict[str, Batch] = {}
    for work, parameters in works:
        found.setdefault(json.dumps(parameters, sort_keys=True), Batch(parameters, [])).works.append(work)
    return list(found.values())


def _common_name(works: Sequence[Work]) -> str:
    rules = {work.rule for work in works}
    return rules.pop() if len(rules) == 1 else "snakemake"
