"""Files that the main process and the agents of its allocations share.

A session is what one Snakemake process needs of standing allocations; a process that was started after a kill goes on
with the session of the old one. At any time one agent owns the session's inbox: the one that started last.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ..folder import read_json, write_json, write_json_once
from ..shared_files import make_own
from .inbox import Inbox


@dataclass(frozen=True)
class Orders:
    """The main process's word to the agent; written again with the next beat as long as it lives."""

    more: bool = True
    """Whether jobs may come beyond those in the inbox."""
    beat: int = 0
    """Grows with each writing: who sees it grow knows that the main process lives, without comparing clocks."""


@dataclass(frozen=True)
class Ending:
    """Why an agent ended, in its own words."""

    reason: str
    """``drained``, ``idle``, ``time`` (the companion left), ``companion`` (it failed), ``killed``, ``replaced``, or
    ``vanished`` (somebody removed the run's folder)."""
    message: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


@dataclass(frozen=True)
class Session:
    """The folder of a session."""

    root: Path

    def make(self) -> None:
        """Make the folders; nobody else may read what a companion writes there."""
        for path in (self.root, self.inbox.root, self._runs, self._endings):
            make_own(path)

    @property
    def inbox(self) -> Inbox:
        """Jobs handed over and not ended."""
        return Inbox(self.root / "inbox")

    def make_run(self, run: str) -> Path:
        """Make the folder of one agent's life: what the companion writes for the jobs to find."""
        path = self._runs / run
        path.mkdir(mode=0o700)
        return path

    def own(self, run: str) -> str | None:
        """Make this run the owner of the inbox.

        Returns:
            The owner until now, if its agent has not said that it ended: it may be alive.
        """
        last = self.owner()
        write_json(self.root / "owner.json", run)
        return None if last is None or self.ending(last) else last

    def owner(self) -> str | None:
        """The run that owns the inbox."""
        owner = read_json(self.root / "owner.json")
        return owner if isinstance(owner, str) else None

    def has_agent(self, allocation: str) -> bool:
        """Whether an agent of this allocation took the inbox last, and has not said that it ended."""
        owner = self.owner()
        return owner is not None and owner.rpartition(".")[0] == allocation and self.ending(owner) is None

    def end(self, run: str, ending: Ending) -> None:
        """Say that nothing of this run is alive."""
        write_json_once(self._endings / f"{run}.json", asdict(ending))

    def ending(self, run: str) -> Ending | None:
        """How a run ended, None if it has not said so."""
        return _ending(read_json(self._endings / f"{run}.json"))

    def last_words(self, allocation: str) -> Ending | None:
        """Why an allocation ended as its agent saw it; of several lives, one in which the companion failed."""
        contents = [read_json(path) for path in self._endings.glob(f"{allocation}.*.json")]
        endings = [ending for content in contents if (ending := _ending(content)) is not None]
        return min(endings, key=lambda ending: ending.reason != "companion", default=None)

    def command(self, orders: Orders) -> None:
        """Give orders."""
        write_json(self.root / "orders.json", asdict(orders))

    def orders(self) -> Orders:
        """The last orders."""
        match read_json(self.root / "orders.json"):
            case {"more": bool(more), "beat": int(beat)}:
                return Orders(more, beat)
        return Orders()

    @property
    def _runs(self) -> Path:
        return self.root / "runs"

    @property
    def _endings(self) -> Path:
        return self.root / "endings"


def _ending(content: object) -> Ending | None:
    match content:
        case {"reason": str(reason), "message": str(message)}:
            return Ending(reason, message)
    return None


def run_name(allocation: str) -> str:
    """Name of one agent's life: a requeued allocation lives more than once."""
    return f"{allocation}.{os.urandom(4).hex()}"
