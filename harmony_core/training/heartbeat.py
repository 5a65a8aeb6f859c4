"""What a rank publishes of itself while it trains, and who is to blame when all stand still."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

# timeout(1) has this exit code: the training stood still, or another rank failed or is gone, and this rank was ended.
STOOD_STILL = 124
_PACKAGE, _LIBRARIES = "harmony_core", ("torch", "deepspeed")
_MOST_NAMES = 8


@dataclasses.dataclass(frozen=True)
class Heartbeat:
    """A rank's sign of life.

    Args:
        step: the optimiser step that it is in; -1 before the first.
        marks: points that it has passed within the step.
        phase: name of the last one.
        beat: number of this heartbeat.
        place: where its main thread is, `function (file:line)`.
        waiting: whether that is inside torch.distributed, so that it waits for others.
    """

    step: int
    marks: int
    phase: str
    beat: int
    place: str
    waiting: bool

    @property
    def reached(self) -> tuple[int, int]:
        """How far it is; comparable between ranks."""
        return self.step, self.marks


# A rank that has not begun to give heartbeats counts as this.
ABSENT = Heartbeat(-1, 0, "not begun", -1, "", False)


def culprits(before: Sequence[Heartbeat], after: Sequence[Heartbeat]) -> str:
    """Names the ranks that the others wait for, from what all said at two times several heartbeats apart.

    Those that gave no heartbeat in between; else those that are least far; among these, where some wait in a collective
    operation and some do not, those that do not.
    """
    silent = [rank for rank, heartbeat in enumerate(after) if heartbeat.beat == before[rank].beat]
    if silent:
        return f"{_names(silent)} stood still: no sign of life since {_where(silent, after)}"
    least = min(heartbeat.reached for heartbeat in after)
    behind = [rank for rank, heartbeat in enumerate(after) if heartbeat.reached == least]
    behind = [rank for rank in behind if not after[rank].waiting] or behind
    return f"{_names(behind)} stood still in {_where(behind, after)}"


def whereabouts(frame: FrameType | None) -> tuple[str, bool]:
    """Where a thread is, and whether it is inside torch.distributed.

    The place is the innermost one in this package, the watchdog aside; where there is none, in what is no library's.
    """
    ours, other, waiting = "", "", False
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        waiting = waiting or ("torch", "distributed") in zip(file.parts, file.parts[1:], strict=False)
        place = f"{frame.f_code.co_name} ({file.name}:{frame.f_lineno})"
        if _PACKAGE in file.parts and file.name != "watchdog.py":
            ours = ours or place
        elif not any(name in file.parts for name in (_PACKAGE, *_LIBRARIES)):
            other = other or place
        frame = frame.f_back
    return ours or other, waiting


def _where(ranks: Sequence[int], heartbeats: Sequence[Heartbeat]) -> str:
    """The step and phase of the first rank, and where each one is; the place that few are at comes first."""
    first = heartbeats[ranks[0]]
    at: dict[str, list[int]] = {}
    for rank in ranks:
        at.setdefault(heartbeats[rank].place or "a place unknown", []).append(rank)
    groups = sorted(at.items(), key=lambda group: len(group[1]))[:_MOST_NAMES]
    places = groups[0][0] if len(groups) == 1 else "; ".join(f"{place}: {_names(which)}" for place, which in groups)
    return f"step {first.step} ({first.phase}) at {places}"


def _names(ranks: Sequence[int]) -> str:
    more = f" and {len(ranks) - _MOST_NAMES} more" if len(ranks) > _MOST_NAMES else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks[:_MOST_NAMES]))}{more}"
