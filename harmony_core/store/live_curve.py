"""A training's loss while it runs: a few lines beside its journal, for those who watch; nothing is made of them.

They may be lost, and are deleted when the training ends: what counts is its row, with the whole curve.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LOG = logging.getLogger(__name__)
_FOLDER = "live"
LEAST_PAUSE_SECONDS = 2.0
# A file has about so many lines for each time that its training becomes e times as long.
_SHARE = 0.01
_MOST_BYTES = 1 << 20
Point = tuple[int, int, float, float]


@dataclass(frozen=True)
class LiveCurve:
    """What a training under way has told.

    Args:
        num_steps: optimiser steps that it will have.
        points: step, tokens, loss [nats/token] and seconds since training began, in order.
    """

    num_steps: int
    points: tuple[Point, ...]

    @property
    def tokens_per_second(self) -> float | None:
        """Over the last few points; None before there are two."""
        if len(self.points) < 2:
            return None
        first, last = self.points[max(0, len(self.points) - 8)], self.points[-1]
        seconds = last[3] - first[3]
        return (last[1] - first[1]) / seconds if seconds > 0 else None


def live_curve_file(shard: Path, key: str) -> Path:
    """Where a task tells its curve.

    Args:
        shard: folder of the shard's journal.
        key: the task's.
    """
    return shard / _FOLDER / f"{key}.jsonl"


def live_curves_folder(shard: Path) -> Path:
    """Where all tasks of a shard tell theirs."""
    return shard / _FOLDER


class LiveCurveWriter:
    """Tells a training's losses, some of them, as it goes; a training never fails for it.

    Args:
        path: the file, from `live_curve_file`; it is begun anew.
        num_steps: optimiser steps that the training will have.
        clock: seconds that never go back.
    """

    def __init__(self, path: Path, num_steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._num_steps, self._clock = path, num_steps, clock
        self._began, self._due = clock(), float("-inf")
        self._is_begun = False

    def tell(self, step: int, tokens: int, loss: float, seconds: float) -> None:
        """Hears of a step, and writes a line where the last one is old enough.

        Args:
            step: number, from 0.
            tokens: training tokens seen after it.
            loss: of its batch [nats/token].
            seconds: when it ended, since training began.
        """
        now = self._clock()
        if now < self._due or not math.isfinite(loss):
            return
        self._due = now + max(LEAST_PAUSE_SECONDS, _SHARE * (now - self._began))
        try:
            if not self._is_begun:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text(json.dumps({"num_steps": self._num_steps}) + "\n")
                self._is_begun = True
            with self._path.open("a") as file:
                file.write(json.dumps([step, tokens, loss, round(seconds, 3)]) + "\n")
        except OSError as error:
            _LOG.warning("the curve of this training is not shown while it runs: %s", error)
            self._due = math.inf

    def close(self) -> None:
        """Deletes the file: the training's row has all of it."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("%s stays: %s", self._path, error)


def read_live_curve(shard: Path, key: str) -> LiveCurve | None:
    """What a task has told by now; None where it has told nothing, or something else lies there.

    Args:
        shard: folder of the shard's journal.
        key: the task's.
    """
    try:
        with live_curve_file(shard, key).open("rb") as file:
            head, *lines = file.read(_MOST_BYTES).split(b"\n")
    except OSError:
        return None
    begun = _json(head)
    if not isinstance(begun, dict) or not isinstance(begun.get("num_steps"), int):
        return None
    points = [point for point in map(_point, lines) if point is not None]
    return LiveCurve(begun["num_steps"], tuple(points))


def _point(line: bytes) -> Point | None:
    """A line's point; None for one that a kill cut short, or that is none."""
    told = _json(line)
    if not isinstance(told, list) or len(told) != 4 or not all(isinstance(one, int | float) for one in told):
        return None
    step, tokens, loss, seconds = told
    return (int(step), int(tokens), float(loss), float(seconds)) if all(map(math.isfinite, told)) else None


def _json(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
