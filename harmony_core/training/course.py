"""One course of steps: the trunk, which ends in the last rung's decay, or the branch of an earlier rung."""

from __future__ import annotations

import dataclasses
import logging
import math

from harmony_core.training.checkpoint import Checkpoint
from harmony_core.training.curve import CurvePoint
from harmony_core.training.learner import Learner, StepLosses
from harmony_core.training.recipe import Recipe
from harmony_core.training.result import TrainingResult
from harmony_core.training.resume import Checkpointing
from harmony_core.training.status import DivergenceRule, Status

_LOG = logging.getLogger(__name__)
_TAIL = 10


class Course:
    """Where a training stands that stops at one rung.

    Args:
        recipe: of that rung alone (`Recipe.at_rung`).
        result: what it has come to; a branch begins with what the trunk had.
        checkpoints: where it writes its own; None writes none.
        vocab_size: the model's.
    """

    def __init__(
        self, recipe: Recipe, result: TrainingResult, checkpoints: Checkpointing | None, vocab_size: int
    ) -> None:
        self.recipe, self.result, self.checkpoints = recipe, result, checkpoints
        self._vocab_size = vocab_size
        self._rule = self._informed()

    def branch(self, recipe: Recipe, checkpoints: Checkpointing | None) -> Course:
        """The course that leaves this one here, for an earlier rung.

        Args:
            recipe: of that rung alone.
            checkpoints: where the branch writes its own; None writes none.
        """
        result = dataclasses.replace(self.result, curve=list(self.result.curve), earlier=[])
        return Course(recipe, result, checkpoints, self._vocab_size)

    def go_on(self, found: Checkpoint | None, learner: Learner) -> None:
        """Goes on where a checkpoint was written, if there is one; the rule has seen all that came before.

        Args:
            found: of this course's checkpoints; it is closed afterwards.
            learner: takes its state.
        """
        if found is None or self.checkpoints is None:
            return
        _LOG.info("goes on from the checkpoint of step %d", found.step)
        with found:
            learner.state.load(found, found.step)
            self.checkpoints.restore(self.result, found)
        self._rule = self._informed()

    def record(self, point: CurvePoint, losses: StepLosses) -> None:
        """Takes in a step, after which the result may have diverged.

        Args:
            point: of the curve.
            losses: of the step.
        """
        result = self.result
        result.curve.append(point)
        result.steps, result.tokens, result.seconds = point.step + 1, point.tokens, point.seconds
        result.router_loss = losses.auxiliary
        if (why := self._rule.verdict(point.step, point.train_loss, point.gradient_norm)) is not None:
            result.status, result.error = Status.DIVERGED, why

    def conclude(self) -> None:
        """The last step is done: the training loss is that of the last tenth of the steps."""
        tail = self.result.curve[-max(1, len(self.result.curve) // _TAIL) :]
        self.result.train_loss = math.fsum(point.train_loss for point in tail) / len(tail)

    def _informed(self) -> DivergenceRule:
        rule = DivergenceRule(self._vocab_size, self.recipe.warmup_steps)
        for point in self.result.curve:
            rule.verdict(point.step, point.train_loss, point.gradient_norm)
        return rule
