"""Candidates under way: how far each training is, by the lines that it keeps beside its journal."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from harmony_core.store import Run
from harmony_core.store.live_curve import read_live_curve
from harmony_core.store.run import whose_task

# So many are read and shown, however many run; more lines than a screen has are no help.
MOST_UNDER_WAY = 12


@dataclasses.dataclass(frozen=True, slots=True)
class UnderWay:
    """A training that has begun and not ended.

    Args:
        candidate: its number in the generation.
        architecture_id: its architecture's id.
        run: which of its trainings.
        step: optimiser steps done; None where it has told of none yet.
        num_steps: that it will have; None likewise.
        loss: of the step's batch [nats/token]; None likewise.
        tokens_per_second: over the last steps that it told of; None before there are two.
    """

    candidate: int
    architecture_id: str
    run: Run
    step: int | None = None
    num_steps: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None


def under_way(shard: Path, keys: Collection[str], most: int) -> list[UnderWay]:
    """Of a shard's running tasks the first, by candidate.

    Args:
        shard: folder of its journal.
        keys: of its running tasks; what is no training's key is passed over, as a damaged line of a journal is.
        most: how many at most.
    """
    found = []
    for key in sorted(keys)[:most]:
        who = whose_task(key)
        if who is None:
            continue
        curve = read_live_curve(shard, key)
        if curve is None or not curve.points:
            found.append(UnderWay(*who))
            continue
        step, _, loss, _ = curve.points[-1]
        found.append(UnderWay(*who, step + 1, curve.num_steps, loss, curve.tokens_per_second))
    return found
