"""Candidates under way: how far each training is, by the lines that it keeps beside its journal."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from harmony_core.store import Run
from harmony_core.store.live_curve import LiveCurve, read_live_curve
from harmony_core.store.run import whose_task

# Promotion measures latencies in turns.
_TURN = re.compile(r"turn[0-9]+-")


@dataclasses.dataclass(frozen=True, slots=True)
class UnderWay:
    """An attempt that has begun and not ended.

    Args:
        candidate: its number in the generation.
        architecture_id: its architecture's id.
        run: which of its trainings.
        attempt: its number, from 1.
        curve: what the training has told by now; None before it has told anything, and where nothing is trained.
    """

    candidate: int
    architecture_id: str
    run: Run
    attempt: int
    curve: LiveCurve | None

    @property
    def steps_done(self) -> int | None:
        """Optimiser steps done; None where it has told of none yet."""
        return None if self.curve is None or not self.curve.points else self.curve.points[-1][0] + 1


def under_way(shard: Path, running: Mapping[str, int], most: int) -> list[UnderWay]:
    """Of a shard's attempts under way the first, by candidate.

    Args:
        shard: folder of its journal.
        running: the attempts' numbers by their tasks' keys; what is no task's key is passed over, as a damaged line of
            a journal is.
        most: how many at most.
    """
    found = []
    for key in sorted(running)[:most]:
        who = whose_task(_TURN.sub("", key, count=1))
        if who is not None:
            found.append(UnderWay(*who, running[key], read_live_curve(shard, key)))
    return found
