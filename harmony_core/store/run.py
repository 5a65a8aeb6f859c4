"""Which of a candidate's trainings."""

from __future__ import annotations

import re
from typing import NamedTuple

_TASK = re.compile(r"(\d{5,9})-([0-9a-f]{16})(?:-r(\d+))?(?:-l(\d+))?")


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


def whose_task(key: str) -> tuple[int, str, Run] | None:
    """Candidate, architecture id and run of a task's key, the first run where it names none; None for another text.

    Args:
        key: as `Run.name` makes it, or its beginning without a run, as evaluators of one task a candidate have it.
    """
    found = _TASK.fullmatch(key)
    return None if found is None else (int(found[1]), found[2], Run(int(found[3] or 0), int(found[4] or 0)))
