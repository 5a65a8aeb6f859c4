"""Candidates by what mixes their tokens, as the report has it, and by the kinds of their blocks, for a whole frame."""

from __future__ import annotations

import re

import polars as pl

from harmony_core.architecture import block_kinds
from harmony_core.report import family as report_family

# In the order of their colours.
FAMILIES = tuple(one.name for one in report_family.FAMILIES)
FAMILY = pl.Enum(FAMILIES)
# A bit for each kind.
MASK = pl.UInt64
_KIND = re.compile(r"(?<![a-z0-9_])[a-z][a-z0-9_]*")


def kinds() -> list[str]:
    """Every kind of block by name, in the order of the bits of `with_families`."""
    return sorted(block_kinds())[:64]


def bit(kind: str) -> int:
    """The mask of one kind."""
    return 1 << kinds().index(kind)


def with_families(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with two more columns, told by `pattern`: `family`, and `kinds`, a bit for each that is there."""
    patterns = rows["pattern"].unique().drop_nulls()
    bits = {kind: bit(kind) for kind in kinds()}
    masks = [sum(bits.get(kind, 0) for kind in set(_KIND.findall(pattern))) for pattern in patterns]
    names = [report_family.family_of_pattern(pattern).name for pattern in patterns]
    told = pl.DataFrame(
        {"pattern": patterns, "family": pl.Series(names, dtype=FAMILY), "kinds": pl.Series(masks, dtype=MASK)}
    )
    return rows.join(told, on="pattern", how="left", maintain_order="left")
