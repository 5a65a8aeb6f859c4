"""What was thrown away, counted by stage and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Ledger:
    """Counts of rejected draws, duplicates and failures."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, stage: str, reason: str, count: int = 1) -> None:
        """Counts something that was thrown away.

        Args:
            stage: where: `sample`, `mutation`, `crossover`, `propose`, `training`, ...
            reason: why, in words.
            count: how many more.
        """
        self._counts[stage, reason] += count

    def merge(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Adds counts by (stage, reason), such as `Variation.rejected` or another ledger's `counts`."""
        self._counts.update(counts)

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Counts by (stage, reason), sorted."""
        return dict(sorted(self._counts.items()))

    def rows(self) -> list[dict[str, str | int]]:
        """One row a (stage, reason): `stage`, `reason`, `count`; sorted."""
        counts = self.counts.items()
        return [{"stage": stage, "reason": reason, "count": count} for (stage, reason), count in counts]
