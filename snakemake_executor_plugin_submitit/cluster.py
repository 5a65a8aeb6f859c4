"""What the plugin asks of a place where jobs run: Slurm, this machine, or Snakemake's own process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from .backend import Resource
from .journal import Place
from .resources import Parameters

Function = Callable[[], object]


@dataclass(frozen=True)
class Outlook:
    """What a cluster says of one job."""

    over: bool
    """It does not run and will not; unless it is requeued, which the settling time is for."""
    words: str = ""
    """The cluster's own words, and what may help."""
    settle_seconds: float = 0.0
    """How long this must stay so, with no state file to be seen, before it is believed."""
    hopeless: bool = False
    """Queued, and will never start."""
    job_id: str = ""
    """The scheduler's id, where the place had none."""
    suspects: str = ""
    """Nodes that may be at fault for its end, as the scheduler writes a list of them."""


class Refused(Enum):
    """What a refusal of the scheduler means for the next try."""

    NOW = auto()
    """The scheduler is busy or away: the same again, later."""
    SO_MANY = auto()
    """A limit on the number of jobs: fewer at once, or later."""
    FOREVER = auto()
    """This request will never be taken."""


class Refusal(Exception):
    """The cluster did not take a submission; the text is one line for the user.

    Args:
        kind: What it means.
        words: The cluster's.
        doubtful: Nobody knows whether words of kind ``NOW`` pass: the same again a few times, and no more.
    """

    def __init__(self, kind: Refused, words: str, doubtful: bool = False) -> None:
        super().__init__(words)
        self.kind = kind
        self.doubtful = doubtful


class Cluster(Protocol):
    """A place where jobs run."""

    @property
    def name(self) -> str:
        """As settings name it."""
        ...

    @property
    def largest_array(self) -> int:
        """Works that one submission may have."""
        ...

    def parameters(self, resources: Mapping[str, Resource]) -> Parameters:
        """Resources as this cluster's submission parameters.

        Raises:
            ResourceError: They make no sense here.
        """
        ...

    def submit(self, tag: str, parameters: Parameters, functions: Sequence[Function]) -> list[str]:
        """Submit functions, all or none; returns an id for each.

        Args:
            tag: Unique name of the submission.
            parameters: From ``parameters``, the same for all.
            functions: What each job runs; at most ``largest_array``.

        Raises:
            Refusal: None of them will run.
        """
        ...

    def look(self, places: Sequence[Place]) -> Mapping[Place, Outlook] | None:
        """How submitted jobs stand; None if there is no answer, or if it is too early to ask again."""
        ...

    def cancel(self, places: Sequence[Place]) -> None:
        """Have these jobs ended, with all their processes; does not wait."""
        ...

    def may_live(self, place: Place) -> bool:
        """Whether a job that an earlier process submitted may be queued or running, without asking anybody."""
        ...

    def files(self, place: Place) -> Path | None:
        """Folder of a job's own files, which it looks for when it starts; None if its id is not known."""
        ...

    def close(self) -> None:
        """See to it that cancelled jobs are gone, where nobody else does."""
        ...
