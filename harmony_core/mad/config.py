"""What quick MAD trains in a search, and how. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harmony_core import bounds
from harmony_core.base import Frozen, digest
from harmony_core.errors import UserError
from harmony_core.mad.protocol import chosen_tasks, describe
from harmony_core.mad.task import MadTask
from harmony_core.mad.tasks import (
    Compression,
    FuzzyRecall,
    InContextRecall,
    Memorisation,
    NoisyRecall,
    SelectiveCopying,
)
from harmony_core.parametrisation import Parametrisation

Trained = Literal["stack", "projection"]
# Every task as quick MAD has it; of these, those below tell architectures apart in the time that they get.
_QUICK: Mapping[str, MadTask] = {
    task.name: task
    for task in (
        InContextRecall(vocab_size=8, length=32),
        FuzzyRecall(length=48),
        NoisyRecall(vocab_size=20, length=32),
        SelectiveCopying(vocab_size=8, length=32, num_copied=5),
        Compression(length=16),
        Memorisation(vocab_size=2048),
    )
}
STEPS = 140
# Steps before accuracy is read first.
_FIRST = 8
QUICK_TASKS = ("in_context_recall", "noisy_recall", "selective_copying", "memorisation")


class QuickTraining(Frozen):
    """How quick MAD trains: one and the same way in every search, so that scores compare.

    Rate and first weights are those that the pilot chose (`benchmarks/pilot`).

    Args:
        steps: optimiser steps a task.
        batch_size: sequences a step, none of them twice.
        num_validation: sequences that accuracy is read on.
        num_checkpoints: points of the curve, equally far apart in the logarithm of steps.
        first_checkpoint: steps before the first of them.
        learning_rate: AdamW's, after the warm-up.
        warmup_steps: steps with a rising rate.
        weight_decay: of matrices.
        beta1: AdamW's.
        beta2: AdamW's.
        gradient_clip: largest global gradient norm.
        parametrisation: how weights start.
    """

    steps: int = Field(default=STEPS, ge=2 * _FIRST, le=10**7)
    batch_size: int = Field(default=8, ge=1, le=bounds.BATCH)
    num_validation: int = Field(default=64, ge=1, le=bounds.BATCH)
    num_checkpoints: int = Field(default=8, ge=2, le=1000)
    first_checkpoint: int = Field(default=_FIRST, ge=1, le=_FIRST)
    learning_rate: float = Field(default=3e-3, gt=0, le=bounds.LEARNING_RATE)
    warmup_steps: int = Field(default=10, ge=1, le=10**6)
    weight_decay: float = Field(default=0.1, ge=0, le=10)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0, le=1e6)
    parametrisation: Parametrisation = Parametrisation(embedding_std=0.1, residual_gain=0.0)

    @property
    def checkpoints(self) -> frozenset[int]:
        """Steps after which accuracy is read."""
        ratio = self.steps / self.first_checkpoint
        shares = [place / (self.num_checkpoints - 1) for place in range(self.num_checkpoints)]
        return frozenset(round(self.first_checkpoint * ratio**share) for share in shares)


class MadConfig(Frozen):
    """Quick MAD as an evaluator of a search (`evaluators: [training, latency, mad]`).

    Args:
        tasks: which are trained; each has a metric `mad_TASK`.
        weights: of tasks in `mad_score`, the mean of their scores; 1 where none is given.
        trained: the candidate's `stack` as it is, or the paper's `projection` of it.
        iso_state: whether the mixers of the projection are set to equal state.
        steps: optimiser steps a task; scores of different numbers do not compare.
    """

    tasks: tuple[str, ...] = QUICK_TASKS
    weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field(default={})
    trained: Trained = "stack"
    iso_state: bool = False
    steps: int = Field(default=STEPS, ge=2 * _FIRST, le=10**7)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.tasks:
            raise UserError("tasks", "[]", f"name at least one of {', '.join(_QUICK)}")
        chosen_tasks(self.tasks)
        for name in self.weights:
            if name not in self.tasks:
                raise UserError(f"weights.{name}", self.weights[name], f"not among tasks ({', '.join(self.tasks)})")
        if not any(self.weight(name) for name in self.tasks):
            raise UserError("weights", self.weights, "every task has 0; give one more than that")
        if self.iso_state and self.trained == "stack":
            raise UserError("iso_state", self.iso_state, "a stack is trained as it is; use trained: projection")
        return self

    def weight(self, name: str) -> float:
        """That of a task in `mad_score`."""
        return self.weights.get(name, 1.0)

    def score(self, scores: Mapping[str, float]) -> float:
        """`mad_score`: the weighted mean of the tasks' scores."""
        total = sum(self.weight(name) for name in self.tasks)
        return sum(self.weight(name) * scores[name] for name in self.tasks) / total

    @property
    def settings(self) -> list[MadTask]:
        """The tasks in their quick settings."""
        return [_QUICK[name] for name in chosen_tasks(self.tasks)]

    @property
    def training(self) -> QuickTraining:
        """How each is trained."""
        return QuickTraining(steps=self.steps)

    @property
    def id(self) -> str:
        """A digest of all that scores are a function of beside architecture, seed and precision; weights are not."""
        what = {"trained": self.trained, "iso_state": self.iso_state, "training": self.training.model_dump()}
        return digest({**what, "tasks": [describe(task) for task in self.settings]})
