"""A metric that an architecture has before a weight exists."""

from __future__ import annotations

from harmony_core.architecture import Architecture
from harmony_core.metrics import Metric, register


def num_kinds(architecture: Architecture) -> int:
    """How many kinds of blocks there are."""
    return len({block.kind for block in architecture.blocks})


register(
    Metric(
        "num_kinds",
        unit="kinds",
        label="kinds of blocks",
        description="how many kinds of blocks there are",
        source=num_kinds,
        direction="maximise",
        whole=True,
    )
)
