"""Which sizes are trained on which budgets, and where the loss of a budget is least.

Losses on one budget are a parabola in the logarithm of the parameters, whose minimum is compute-optimal (Hoffmann et
al. 2022, arXiv:2203.15556, section 3.2).
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmony_core.errors import UserError
from harmony_core.scaling.ladder import Ladder

# With fewer steps a training is its warm-up.
LEAST_STEPS = 20
# A parabola has three coefficients.
LEAST_SIZES = 3
# Of a minimum from the middle of a curve's sizes, in natural logarithms: a factor of 22,000.
_FARTHEST = 10.0


@dataclass(frozen=True)
class Curve:
    """One budget of one architecture."""

    architecture: str
    budget: float


@dataclass(frozen=True)
class Point:
    """What one training says of a curve.

    Args:
        curve: whose.
        params: active non-embedding parameters.
        tokens: read in training.
        loss: on validation [nats/token].
        state: bytes that generation holds at the end of a sequence, cache and recurrent state.
    """

    curve: Curve
    params: int
    tokens: int
    loss: float
    state: int


@dataclass(frozen=True)
class Optimum:
    """The minimum of a curve.

    Args:
        params: active non-embedding parameters there.
        tokens: of the training there.
        loss: the parabola's least [nats/token].
        state: bytes of cache and state there.
        bracketed: whether it lies between the least and the largest size.
    """

    params: float
    tokens: float
    loss: float
    state: float
    bracketed: bool


def optimum(points: Sequence[Point], sizes: tuple[int, int] | None = None) -> Optimum | None:
    """Where a parabola through a curve's losses is least; None with less than three sizes, or where it has no least.

    Args:
        points: of one curve.
        sizes: the least and the largest of the curve, where `points` are not all of it.
    """
    if len({one.params for one in points}) < LEAST_SIZES:
        return None
    logs_N = np.log([one.params for one in points])
    middle = float(logs_N.mean())
    bend, slope, height = map(float, np.polyfit(logs_N - middle, [one.loss for one in points], 2))
    # Where a parabola is nearly flat its minimum is nowhere.
    if bend <= 0 or not abs(place := -slope / (2 * bend)) < _FARTHEST:
        return None
    # Along a curve tokens and state are nearly power laws of the parameters.
    tokens = _power_law(logs_N - middle, [one.tokens for one in points], place)
    state = _power_law(logs_N - middle, [max(1, one.state) for one in points], place)
    least, largest = sizes or (min(one.params for one in points), max(one.params for one in points))
    is_between = math.log(least) < middle + place < math.log(largest)
    return Optimum(math.exp(middle + place), tokens, height - bend * place**2, state, is_between)


def _power_law(logs_N: NDArray[np.float64], values: Sequence[float], place: float) -> float:
    """The value at a place, by the line through logarithms; those of the sizes are centred."""
    logs_of_values_N = np.log(values)
    slope = float(logs_N @ logs_of_values_N / (logs_N @ logs_N))
    return math.exp(float(logs_of_values_N.mean()) + slope * place)


Plan = dict[str, dict[int, tuple[float, ...]]]


def first_plan(ladders: Sequence[Ladder], train_tokens: int) -> Plan:
    """The budgets of every size of every architecture: on each curve the sizes about its expected minimum.

    Args:
        ladders: the architectures.
        train_tokens: of the text.

    Raises:
        UserError: a size cannot be made, reads its text too often, or has hardly a step.
    """
    found: Plan = {}
    for ladder in ladders:
        budgets: dict[int, list[float]] = defaultdict(list)
        for budget in ladder.config.budgets:
            first = ladder.nearest(budget) - ladder.config.sizes // 2
            for step in range(first, first + ladder.config.sizes):
                check(ladder, step, budget, train_tokens)
                budgets[step].append(budget)
        found[ladder.name] = {step: tuple(budgets[step]) for step in sorted(budgets)}
    return found


def check(ladder: Ladder, step: int, budget: float, train_tokens: int) -> None:
    """Refuses what would say nothing.

    Args:
        ladder: of the architecture.
        step: the size.
        budget: its FLOPs.
        train_tokens: of the text.

    Raises:
        UserError: the size cannot be made, reads its text too often, or has hardly a step.
    """
    config, tokens = ladder.config, ladder.tokens(step, budget)
    size = f"{ladder.name} with {ladder.at(step).num_active_non_embedding_params()} parameters"
    if tokens > config.epochs * train_tokens:
        most = config.epochs * train_tokens * ladder.flops_per_token(step)
        often = f"{size} would read {train_tokens} tokens {tokens / train_tokens:.1f} times"
        fix = f"{often}; use at most {most:.3g} FLOPs, fewer tokens_per_param or more text"
        raise UserError("budgets", f"{budget:g}", fix)
    of_step = config.recipe.batch_size * config.recipe.sequence_length
    decay = config.recipe.decay_fraction * tokens
    if tokens < LEAST_STEPS * of_step or ladder.warmup_tokens(step) + decay > tokens:
        fix = (
            f"pays {size} for {tokens // of_step} steps, of which {LEAST_STEPS} and those of warm-up and decay are the "
            "least; use a larger budget, more tokens_per_param, or smaller steps"
        )
        raise UserError("budgets", f"{budget:g}", fix)


def beyond(
    ladders: Sequence[Ladder], done: Mapping[str, Mapping[int, Sequence[float]]], points: Sequence[Point], tokens: int
) -> Plan:
    """The sizes that are still wanted: beyond the end of every curve whose best size is its least or its largest.

    What `check` refuses there is not wanted: such a curve stays as it is, and its minimum is not bracketed.

    Args:
        ladders: the architectures.
        done: the budgets of all sizes so far.
        points: what they say.
        tokens: of the text.
    """
    found: Plan = {}
    for ladder in ladders:
        budgets: dict[int, list[float]] = defaultdict(list)
        for budget in ladder.config.budgets:
            steps = sorted(step for step, paid in done[ladder.name].items() if budget in paid)
            wanted = _beyond(ladder, steps, [one for one in points if one.curve == Curve(ladder.name, budget)])
            if wanted is not None and _is_possible(ladder, wanted, budget, tokens):
                budgets[wanted].append(budget)
        if budgets:
            found[ladder.name] = {step: tuple(budgets[step]) for step in sorted(budgets)}
    return found


def _beyond(ladder: Ladder, steps: Sequence[int], points: Sequence[Point]) -> int | None:
    if not points:
        return None
    losses: dict[int, list[float]] = defaultdict(list)
    for one in points:
        losses[one.params].append(one.loss)
    best = min(losses, key=lambda params: sum(losses[params]) / len(losses[params]))
    sizes = {step: ladder.at(step).num_active_non_embedding_params() for step in steps}
    if best == sizes[steps[0]]:
        return steps[0] - 1
    return steps[-1] + 1 if best == sizes[steps[-1]] else None


def _is_possible(ladder: Ladder, step: int, budget: float, train_tokens: int) -> bool:
    try:
        check(ladder, step, budget, train_tokens)
    except UserError:
        return False
    return True


def together(plans: Iterable[Plan]) -> Plan:
    """The budgets of all sizes of several rounds."""
    found: dict[str, dict[int, list[float]]] = defaultdict(functools.partial(defaultdict, list))
    for plan in plans:
        for name, sizes in plan.items():
            for step, budgets in sizes.items():
                found[name][step] += budgets
    return {name: {step: tuple(sorted(one)) for step, one in sorted(sizes.items())} for name, sizes in found.items()}
