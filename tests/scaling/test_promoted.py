"""The rank correlation of a promotion's sizes pairs members with what they were grown to."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from harmony_core.scaling import promoted
from harmony_core.scaling.promoted import small_to_large

GROWTH = "width for 4000000 parameters"


def row(who: str, bits: float | None, growth: str = "", preset: bool = False) -> dict[str, Any]:
    operator = f"preset {who}" if preset else "promoted from the front"
    return {
        "name": who if preset else None,
        "parents": [] if preset else [who],
        "operator": f"{operator}: {growth}" if growth else operator,
        "test_bits_per_byte": bits,
    }


def told(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> list[promoted.SmallToLarge]:
    frame = pl.DataFrame(rows, schema_overrides={"parents": pl.List(pl.String), "name": pl.String})
    monkeypatch.setattr(promoted, "promoted_results", lambda search: frame.lazy())
    return small_to_large("any")


def test_members_are_paired_by_what_they_were_grown_from(monkeypatch: pytest.MonkeyPatch) -> None:
    small = [row("a", 1.0), row("b", 2.0), row("llama-nano", 3.0, preset=True), row("c", 4.0), row("d", 5.0)]
    large = [
        row("b", 1.8, GROWTH),
        row("a", 0.9, GROWTH),
        row("llama-nano", 2.9, GROWTH, preset=True),
        # Nobody knows what a member that failed would have had.
        row("c", None, GROWTH),
    ]
    (found,) = told(small + large, monkeypatch)
    assert (found.growth, found.members, found.correlation.value) == (GROWTH, 3, pytest.approx(1.0))
    assert str(found).startswith(f"small to large, {GROWTH}: Spearman 1.000 (")
    assert told(small + large[:2], monkeypatch) == []
    assert told(small, monkeypatch) == []
