"""What a rank of a pipeline stage keeps in memory while it trains.

Weights, gradients and optimiser states as ZeRO spreads them (arXiv:1910.02054, section 3), activations of the
micro-batches that 1F1B has in flight, and what the loss holds. Fragmentation is the machine's reserve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from harmony_core.architecture import Architecture
from harmony_core.machines.block_cost import ModelCost
from harmony_core.machines.layout import Layout
from harmony_core.machines.schedule import micro_batches_in_flight
from harmony_core.machines.step import StateBytes, TrainingStep
from harmony_core.tiling import LOGITS_BYTES, logits_rows

# The loss computes the head's fp32 gradient with the logits, slice by slice, and keeps it; its backward pass scales a
# copy (`models/ops/cross_entropy.py`). Beside that it holds a slice as a GPU has it.
_HEAD_BYTES_PER_PARAM = 2 * 4


@dataclass(frozen=True)
class StageMemory:
    """Bytes of one rank of a stage, by what they hold."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    loss: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.loss


@dataclass(frozen=True)
class _ParamBytes:
    weight: float
    gradient: float
    optimizer: float

    @classmethod
    def spread(cls, state: StateBytes, zero_stage: int, ranks: int) -> _ParamBytes:
        """Bytes that one of `ranks` keeps of a parameter that all of them have."""
        gradient = state.gradient / (ranks if zero_stage >= 2 else 1)
        return cls(state.weight, gradient, state.optimizer / (ranks if zero_stage >= 1 else 1))


class MemoryModel:
    """Memory of any run of blocks as any stage of a layout.

    Args:
        cost: of the blocks.
        layout: how the training is spread.
        step: what is trained.
        architecture: the model, for its two ends.
    """

    def __init__(self, cost: ModelCost, layout: Layout, step: TrainingStep, architecture: Architecture) -> None:
        self._pp, self._micro_batches = layout.pp, layout.num_micro_batches(step.batch_size)
        self._embedding = architecture.vocab_size * architecture.d_model / layout.tp
        rows = min(logits_rows(architecture.vocab_size, "cuda"), _tokens(layout, step))
        self._loss = self._embedding * _HEAD_BYTES_PER_PARAM + LOGITS_BYTES * rows * architecture.vocab_size / layout.tp
        # The last stage has the head, or its own copy of a tied embedding.
        self._last_has_own = layout.pp > 1 or not architecture.tie_embeddings
        self._dense = _ParamBytes.spread(step.state, layout.zero_stage, layout.data_ranks)
        self._expert = _ParamBytes.spread(step.state, layout.zero_stage, layout.data_ranks // layout.ep)
        again = layout.activation_checkpointing
        self._dense_params, self._expert_params = _sums(cost.dense_params), _sums(cost.expert_params)
        self._kept = _sums([cost.input_bytes] * len(cost.kept_bytes) if again else cost.kept_bytes)
        # A block that is computed again has all its activations for as long as its backward pass takes.
        working = cost.working_bytes + cost.kept_bytes if again else cost.working_bytes
        self._working = float(working.max())

    def params(self, stage: int, start: int, stop: int) -> tuple[float, float]:
        """Parameters that a rank holds of a run of blocks, and of the model's ends where the stage has one.

        Args:
            stage: its number, from 0.
            start: its first block.
            stop: the block behind its last.

        Returns:
            Dense parameters, and parameters of experts.
        """
        ends = (stage == 0) + (stage == self._pp - 1 and self._last_has_own)
        dense = self._dense_params[stop] - self._dense_params[start] + ends * self._embedding
        return dense, self._expert_params[stop] - self._expert_params[start]

    def stage(self, stage: int, start: int, stop: int) -> StageMemory:
        """Bytes of a run of blocks as one stage of the pipeline.

        Args:
            stage: its number, from 0.
            start: its first block.
            stop: the block behind its last.
        """
        dense, expert = self.params(stage, start, stop)
        in_flight = micro_batches_in_flight(stage, self._pp, self._micro_batches)
        return StageMemory(
            weights=dense * self._dense.weight + expert * self._expert.weight,
            gradients=dense * self._dense.gradient + expert * self._expert.gradient,
            optimizer=dense * self._dense.optimizer + expert * self._expert.optimizer,
            activations=in_flight * (self._kept[stop] - self._kept[start]) + self._working,
            loss=self._loss if stage == self._pp - 1 else 0.0,
        )


def _tokens(layout: Layout, step: TrainingStep) -> float:
    """Tokens of a micro-batch that a rank has."""
    return layout.micro_batch(step.batch_size) * step.sequence_length / layout.cp


def _sums(values: Iterable[float]) -> list[float]:
    return list(accumulate((float(value) for value in values), initial=0.0))
