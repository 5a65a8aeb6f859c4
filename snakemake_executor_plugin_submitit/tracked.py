"""A job of Snakemake between its submission and the word of its end."""

from dataclasses import dataclass, field
from typing import Any

from .backend import TRY_AGAIN, Done, Lost, Status, Work
from .log import Log


@dataclass
class Tracked:
    """A job between its submission and its report."""

    job: Any
    work: Work
    attached: bool = False
    """Submitted by an earlier Snakemake process: if it is lost, that was no try of this one."""
    outcome: Done | None = None
    """It ended before this process asked."""
    rivals: dict[str, Work] = field(default_factory=dict)
    """Earlier jobs on the same files that have to end before this one is submitted."""
    resubmissions: int = 0
    due: bool = False
    """To be submitted, at the next look if it does not succeed at this one."""

    def comes_again(self, status: Status, resubmissions: int, log: Log) -> bool:
        """Whether it is submitted again after this end, which is then said.

        Args:
            status: How it ended.
            resubmissions: How often it may be submitted again.
            log: Snakemake's logger.
        """
        if isinstance(status, Lost) and self.attached:
            log.info(f"{self.work.name}: lost with an earlier Snakemake process ({status.why}).")
            return True
        unfinished = isinstance(status, Done) and status.rc == TRY_AGAIN
        vanished = isinstance(status, Lost) and status.vanished
        if (unfinished or vanished) and self.resubmissions < resubmissions:
            self.resubmissions += 1
            why = status.why if isinstance(status, Lost) else f"not finished (exit code {TRY_AGAIN})"
            log.info(f"{self.work.name}: {why}, submitted again.")
            return True
        return False
