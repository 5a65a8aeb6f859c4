"""Attempts under way, and how far each training is by the line that it keeps beside its journal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from harmony_core.store import SearchFolder
from harmony_core.store.live_curve import read_live_curve
from harmony_core.store.run import whose_task
from harmony_core.ui.generation_rows import UnderWay

MOST_SHOWN = 100
# Promotion measures latencies in turns.
_TURN = re.compile(r"turn[0-9]+-")


def under_way(found: Iterable[UnderWay], folder: SearchFolder, config: dict[str, Any]) -> list[dict[str, Any]]:
    """The attempts as JSON, first generations first.

    Args:
        found: attempts.
        folder: the search's.
        config: as the manifest holds it.
    """
    told = []
    for one in list(found)[:MOST_SHOWN]:
        who = whose_task(_TURN.sub("", one.key, count=1))
        if who is None:
            # A damaged journal; the key is no task's.
            continue
        candidate, architecture_id, run = who
        curve = read_live_curve(one.journal.parent, one.key)
        told.append(
            {
                "generation": one.generation,
                "stage": one.stage,
                "candidate": candidate,
                "id": architecture_id,
                "replicate": run.replicate,
                "rate": run.rate,
                "attempt": one.attempt,
                "curve": [] if curve is None else curve.points,
                "steps": None if curve is None else curve.num_steps,
                "step": None if curve is None or not curve.points else curve.points[-1][0],
                "tokens_per_second": None if curve is None else curve.tokens_per_second,
            }
        )
    return told
