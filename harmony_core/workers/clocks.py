"""Whether two hosts' clocks agree. A warning to people and nothing else: no decision compares clocks."""

from __future__ import annotations

TOLERATED_SECONDS = 2.0


def seconds_apart(before: float, theirs: float, after: float) -> float:
    """How far another host's clock is off at least.

    Args:
        before: this host's time when the other one was asked [s].
        theirs: what it answered.
        after: this host's time when the answer was here.
    """
    return max(before - theirs, theirs - after, 0.0)


def warning(node: str, seconds: float) -> str:
    """What a person is told of a node's clock."""
    return (
        f"the clock of {node} is at least {seconds:.0f} s off that of the batch node: "
        "times in logs will not agree, no result depends on them"
    )
