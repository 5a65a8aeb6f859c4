"""The figures of a measurement as columns of `schemas.LATENCY`: where there are none, and where there are several."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

# The function that measures a candidate, in a process of its own.
LATENCY_TARGET = "harmony_core.evaluation.latency:run"

_MEDIANS = (
    "seconds_median",
    "seconds_p10",
    "seconds_p90",
    "relative",
    "latency_seconds",
    "reference_seconds_median",
    "reference_movement",
)
_SUMS = ("repeats", "warmups", "measurements")
NOT_MEASURED: dict[str, Any] = {**dict.fromkeys(_MEDIANS), **dict.fromkeys(_SUMS, 0), "marked": None}


def over_turns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of a candidate that was measured in several turns, in one mode.

    Medians of what was measured, sums of what that took. It is marked where most turns are, since then its median may
    be of one that is. A turn that failed is the candidate's failure.
    """
    sums = {name: sum(row[name] for row in rows) for name in (*_SUMS, "seconds", "device_seconds")}
    failed = next((row for row in rows if row["status"] != "ok"), None)
    if failed is not None:
        return {**failed, **sums}
    medians = {name: statistics.median(row[name] for row in rows) for name in _MEDIANS}
    return {**rows[0], **medians, **sums, "marked": 2 * sum(row["marked"] for row in rows) > len(rows)}
