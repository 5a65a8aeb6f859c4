"""A training step, whatever its layout: its batch, the bytes of a parameter, what is assumed of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from harmony_core.errors import UserError
from harmony_core.machines.machine import Precision
from harmony_core.machines.roofline import BYTES_PER_ELEMENT


@dataclass(frozen=True)
class StateBytes:
    """Bytes that training keeps of a parameter, and of an element of the residual stream inside a stage.

    Args:
        weight: what the forward pass reads.
        gradient: what ranks add up.
        optimizer: AdamW's two moments, and the master weight where `weight` is not it.
        stream: an element of the residual stream inside a stage, which checkpointing keeps for each block. Between
            stages it travels in the precision of products (`TrainingStep.element`).
    """

    weight: int
    gradient: int
    optimizer: int
    stream: int


# bf16 is autocast over fp32 weights here, so the residual stream inside a stage is fp32 too.
FP32_WEIGHTS = StateBytes(weight=4, gradient=4, optimizer=8, stream=4)
# Megatron-LM and DeepSpeed with half-precision weights (arXiv:1910.02054, section 3.1).
HALF_WEIGHTS = StateBytes(weight=2, gradient=2, optimizer=12, stream=2)


@dataclass(frozen=True)
class Assumptions:
    """What the cost model takes for granted, each a plain number.

    Args:
        expert_imbalance: tokens of the busiest expert rank over the mean, with balancing on. Assumed.
        gradient_overlap: share of the gradients' reduction that hides behind the backward pass. None: a pipeline
            reduces after its last micro-batch, and so does an engine that accumulates.
        all_to_all_overlap: share of the expert dispatch that hides behind the shared expert or the next micro-batch.
        network_bandwidth: factor of the outermost links' bandwidth; 1 is the machine's file.
    """

    expert_imbalance: float = 1.2
    gradient_overlap: float = 0.0
    all_to_all_overlap: float = 0.0
    network_bandwidth: float = 1.0


@dataclass(frozen=True)
class TrainingStep:
    """One optimiser step of all ranks together.

    Args:
        batch_size: sequences.
        sequence_length: tokens a sequence.
        precision: of matrix products.
        state: bytes of a parameter and of the residual stream.
        assumptions: what the cost model takes for granted.
    """

    batch_size: int
    sequence_length: int
    precision: Precision = "bf16"
    state: StateBytes = FP32_WEIGHTS
    assumptions: Assumptions = field(default_factory=Assumptions)

    def __post_init__(self) -> None:
        for name in ("batch_size", "sequence_length"):
            if getattr(self, name) < 1:
                raise UserError(name, getattr(self, name), "use at least 1")

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batch_size * self.sequence_length

    @property
    def element(self) -> int:
        """Bytes of an activation inside a block, and of what a pipeline stage sends to the next one and gets back."""
        return BYTES_PER_ELEMENT[self.precision]
