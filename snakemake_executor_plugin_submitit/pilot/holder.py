"""Takes allocations for a session, one at a time or one behind the other, and gives them back."""

import os
from dataclasses import replace

from ..backend import TRY_AGAIN, Backend, Done, Lost, Running, Work
from ..journal import Journal
from ..log import Log
from .session import Session

MOST_BARREN = 3
"""So many allocations in a row that ended before any job did are enough."""


class Holder:
    """The allocations of one session. Each is a :class:`Work` of the array backend, with a key of its own.

    Args:
        session: Whose allocations.
        arrays: Submits them and follows them, over requeues, to their end.
        journal: Where they are found again after a kill.
        template: What they have in common.
        chain: Whether to keep a successor in the queue behind the one that runs.
        log: Snakemake's logger.
    """

    def __init__(
        self, session: Session, arrays: Backend, journal: Journal, template: Work, chain: bool, log: Log
    ) -> None:
        self._session = session
        self._arrays = arrays
        self._journal = journal
        self._template = template
        self._prefix = f"pilot-{session.root.name}-"
        self._chain = chain
        self._log = log
        self._held = self._attach()
        self._given_back: set[str] = set()
        self._successors: set[str] = set()
        self._ended = 0
        self._unfinished = 0
        self._barren = 0
        self.hopeless: str | None = None
        """Why no more are taken."""

    @property
    def holds(self) -> bool:
        """Whether an allocation may be queued or alive."""
        return bool(self._held)

    def note_end(self, code: int) -> None:
        """A job ended: its allocation was of use."""
        self._ended += 1
        self._unfinished += code == TRY_AGAIN

    def follow(self) -> None:
        """Learn which allocations have ended, and whether to take more."""
        for key, status in self._arrays.poll(self._held.keys()).items():
            if not isinstance(status, Running):
                self._journal.reported([self._held.pop(key)])
                if key not in self._given_back:
                    self._judge(key, status)
        if self.hopeless:
            self.give_back(with_agent=True)

    def take(self) -> None:
        """See to it that an allocation is held, and its successor where there shall be one."""
        if self.hopeless:
            return
        if not self._held:
            self._submit(self._template)
        elif self._chain and len(self._held) == 1:
            (key,) = self._held
            place = self._journal.place(key, 1)
            if place is not None and place.job_id and self._session.has_agent(key):
                extra = f"{self._template.resources.get('slurm_extra', '')} --dependency=afterany:{place.job_id}"
                resources = {**self._template.resources, "slurm_extra": extra.strip()}
                self._successors.add(self._submit(replace(self._template, resources=resources)))

    def give_back(self, with_agent: bool = False) -> None:
        """Cancel what is held.

        Args:
            with_agent: Also those in which an agent runs, which would end by its orders.
        """
        keys = {key for key in self._held if with_agent or not self._session.has_agent(key)} - self._given_back
        if keys:
            self._arrays.cancel(keys)
            self._given_back |= keys

    def try_again(self) -> None:
        """Hope again; one more failure is enough to lose it."""
        self.hopeless = None

    def _attach(self) -> dict[str, Work]:
        known = [replace(self._template, key=key) for key in self._journal.open_keys() if key.startswith(self._prefix)]
        attached = self._arrays.attach(known)
        return {work.key: work for work in known if work.key in attached}

    def _submit(self, allocation: Work) -> str:
        work = replace(allocation, key=f"{self._prefix}{os.urandom(4).hex()}")
        self._journal.works([work])
        self._held[work.key] = work
        self._arrays.submit([work])
        return work.key

    def _judge(self, key: str, status: Done | Lost) -> None:
        """Make of an allocation's end what there is to learn from it."""
        if isinstance(status, Lost) and status.final:
            if key in self._successors:
                self._chain = False
                self._log.warning(f"No successor is queued behind the standing allocation: {status.why}")
            else:
                self.hopeless = status.why
            return
        words = self._session.last_words(key) if isinstance(status, Lost) else None
        why = str(words) if words else status.why if isinstance(status, Lost) else status.tail
        self._log.info(f"The standing allocation ended: {why}")
        # A companion that fails makes jobs say that they want to run again, which is no progress.
        unfinished = self._unfinished if words and words.reason == "companion" else 0
        fruitful = self._ended > unfinished
        self._ended = self._unfinished = 0
        self._barren = 0 if fruitful else self._barren + isinstance(status, Lost)
        if self._barren >= MOST_BARREN:
            logs = "".join(f"; see {path}" for path in status.logs) if isinstance(status, Lost) else ""
            self.hopeless = (
                f"{self._barren} standing allocations in a row ended before any job did; the last: {why}{logs}"
            )
