"""Which of a candidate's trainings."""

from __future__ import annotations

from typing import NamedTuple


class Run(NamedTuple):
    """One training of a candidate.

    Args:
        replicate: number of the repetition on fresh seeds.
        rate: number of the learning rate in the recipe's list.
    """

    replicate: int = 0
    rate: int = 0

    def name(self, architecture_id: str, candidate: int) -> str:
        """What its task, log and folder of checkpoints are called."""
        of_rate = f"-l{self.rate}" if self.rate else ""
        return f"{candidate:05d}-{architecture_id}-r{self.replicate}{of_rate}"
