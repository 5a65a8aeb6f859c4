"""Learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math

from harmony_core.training.recipe import Recipe


def learning_rate_factor(recipe: Recipe, step: int) -> float:
    """The multiple of the peak learning rate at `step` (from 0), in [0, 1].

    The warm-up is linear and reaches the peak on its last step. `wsd` then holds, and falls linearly over the last
    decay_fraction of the steps (MiniCPM, arXiv:2404.06395, section 4); `cosine` falls all the way. Both end at
    min_learning_rate_ratio on the last step.
    """
    steps, warmup = recipe.num_steps, recipe.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if recipe.schedule == "cosine":
        begin, shape = warmup, _cosine
    else:
        begin, shape = recipe.trunk_steps, _linear
    if step < begin:
        return 1.0
    progress = (step - begin + 1) / max(steps - begin, 1)
    floor = recipe.min_learning_rate_ratio
    return floor + (1 - floor) * shape(min(progress, 1.0))


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _linear(progress: float) -> float:
    return 1 - progress
