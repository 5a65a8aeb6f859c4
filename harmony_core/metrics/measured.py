"""What evaluators measure of a candidate."""

from __future__ import annotations

from harmony_core.metrics.metric import Metric, register
from harmony_core.metrics.reference import of_losses

LOSS = register(
    Metric(
        "val_bits_per_byte",
        unit="bits/byte",
        label="val bits/byte",
        short="bits/byte",
        description="mean over replicates; null if failed",
        source="training",
        format="decimal",
        reference=of_losses,
    )
).name

LATENCY = register(
    Metric(
        "latency_seconds",
        unit="s",
        label="latency [ms]",
        short="latency",
        description="of the objective's mode, relative to the reference; null if not measured",
        source="latency",
        format="seconds",
    )
).name
