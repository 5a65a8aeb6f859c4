"""One task of the quick protocol: how soon a model learns it, each example new, selected by nothing.

N sequences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from harmony_core.architecture import Architecture
from harmony_core.mad.accuracy import accuracy
from harmony_core.mad.config import QuickTraining
from harmony_core.mad.examples import make_examples
from harmony_core.mad.learning import Learning
from harmony_core.mad.model import model_for
from harmony_core.mad.task import MadTask
from harmony_core.models.groups import parameter_groups


@dataclass(frozen=True)
class QuickResult:
    """How a task was learnt.

    Args:
        score: area under accuracy over the logarithm of steps, in [0, 1].
        curve: (steps, validation accuracy), ascending.
        loss: of the last step, in nats a token.
        kernel_paths: which implementation each kind of block took.
    """

    score: float
    curve: tuple[tuple[int, float], ...]
    loss: float
    kernel_paths: str


def run_quick(
    architecture: Architecture, task: MadTask, training: QuickTraining, seed: int, precision: str, device: torch.device
) -> QuickResult:
    """Trains a model on a task for a fixed number of steps.

    Args:
        architecture: of the task's vocabulary.
        task: in its setting.
        training: steps, rate, first weights.
        seed: of weights and examples.
        precision: `fp32`, or `bf16` for autocast.
        device: where.

    Raises:
        Diverged: a loss is not finite.
    """
    model = model_for(task, architecture, has_readout=False)
    model.initialise(seed, training.parametrisation)
    model.to(device)
    groups = parameter_groups(
        model, training.learning_rate, training.weight_decay, width_factor=1.0, parametrisation=training.parametrisation
    )
    # AdamW takes no names that are not of single parameters.
    optimizer = torch.optim.AdamW(
        [{key: value for key, value in group.items() if key != "names"} for group in groups],
        betas=(training.beta1, training.beta2),
        fused=True,
    )
    learning = Learning(model, optimizer, precision, training.gradient_clip)
    held_out = make_examples(task, "validation", range(training.num_validation), seed)
    curve, loss = [], 0.0
    for step in range(training.steps):
        first = step * training.batch_size
        batch = make_examples(task, "train", range(first, first + training.batch_size), seed)
        loss = learning.step(batch, min(1.0, (step + 1) / training.warmup_steps))
        if step + 1 in training.checkpoints:
            answers_NT = learning.answers(held_out, training.batch_size)
            curve.append((step + 1, accuracy(answers_NT, held_out.targets_NT)))
    return QuickResult(area_over_log_steps(curve), tuple(curve), loss, ", ".join(model.stack.kernel_paths()))


def area_over_log_steps(curve: Sequence[tuple[int, float]]) -> float:
    """The mean of accuracy over the logarithm of steps, from the first point to the last, straight between points."""
    areas = [
        (math.log(later) - math.log(step)) * (value + next_value) / 2
        for (step, value), (later, next_value) in pairwise(curve)
    ]
    return sum(areas) / math.log(curve[-1][0] / curve[0][0])
