"""What promotion says of growth: whether those that were better at their own size are better when they are large."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from harmony_core.results import promoted_results
from harmony_core.scaling.rank import RankCorrelation, rank_correlation
from harmony_core.store.queries import Search

# Fewer have no rank to speak of.
LEAST = 3


@dataclass(frozen=True)
class SmallToLarge:
    """One size.

    Args:
        growth: to which size, in words.
        members: found and known architectures that did well at their own size and at this one.
        correlation: of their test bits per byte.
    """

    growth: str
    members: int
    correlation: RankCorrelation

    def __str__(self) -> str:
        return f"small to large, {self.growth}: Spearman {self.correlation} over {self.members} architectures"


def small_to_large(search: Search) -> list[SmallToLarge]:
    """The rank correlation of each size that promotion grew to, where at least `LEAST` architectures have both."""
    own: dict[str, float] = {}
    grown: dict[str, dict[str, float]] = defaultdict(dict)
    for row in promoted_results(search).collect().iter_rows(named=True):
        bits = row["test_bits_per_byte"]
        if bits is not None:
            _, _, growth = row["operator"].partition(": ")
            (grown[growth] if growth else own)[_who(row)] = bits
    found = []
    for growth, bits_of in sorted(grown.items()):
        both = sorted(own.keys() & bits_of.keys())
        if len(both) >= LEAST:
            correlation = rank_correlation([own[one] for one in both], [bits_of[one] for one in both])
            found.append(SmallToLarge(growth, len(both), correlation))
    return found


def _who(row: dict[str, Any]) -> str:
    """A preset by its name, what was found by the id that it had in the search."""
    return str(row["name"] or row["parents"][0])
