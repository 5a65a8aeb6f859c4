"""What is recorded of each optimiser step."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """One optimiser step: losses in nats per token, seconds since training began (earlier runs of it included).

    Args:
        step: number, from 0.
        tokens: training tokens seen after it.
        train_loss: mean cross entropy of its batch.
        learning_rate: of the step.
        gradient_norm: before clipping.
        seconds: when it ended.
    """

    step: int
    tokens: int
    train_loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
