"""The pipeline's schedule: one forward, one backward (1F1B; PipeDream-flush, arXiv:2006.09503, section 2.2)."""

from __future__ import annotations

from collections.abc import Sequence


def pipeline_seconds(stage_seconds: Sequence[float], num_micro_batches: int) -> float:
    """A step's passes through all stages: sum over stages + (micro-batches - 1) x the slowest stage.

    The first micro-batch goes through every stage and back; each later one leaves the slowest stage one turn of it
    later. With even stages this is (micro-batches + stages - 1) turns.

    Args:
        stage_seconds: of each stage, one micro-batch's forward and backward pass with what is sent to neighbours.
        num_micro_batches: micro-batches of a step.
    """
    return sum(stage_seconds) + (num_micro_batches - 1) * max(stage_seconds)


def micro_batches_in_flight(stage: int, num_stages: int, num_micro_batches: int) -> int:
    """Micro-batches whose activations a stage holds at most: one for itself and each stage after it.

    Args:
        stage: its number, from 0.
        num_stages: of the pipeline.
        num_micro_batches: of a step.
    """
    return min(num_stages - stage, num_micro_batches)
