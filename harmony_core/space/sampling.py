"""Drawing an architecture from the whole space."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.space.choices import Choices
from harmony_core.space.constraints import Limits
from harmony_core.space.ladder import COSTS
from harmony_core.space.plan import draw_kinds
from harmony_core.space.reach import Unreachable, unreachable
from harmony_core.space.repair import Edit, free_blocks
from harmony_core.space.space import Space
from harmony_core.space.stack import Stack, fixed_costs
from harmony_core.space.strata import Stratum, draw_stratum
from harmony_core.space.variation import DeadEnd, Unit, Variation, draw_until_accepted

SAMPLE_TRIES = 200
# So many draws are made from the stratum that was asked for, then so many from it at any size, before any other serves.
_STRATUM_TRIES = 8
# A sample's size may be off the stratum's by this share.
_NEAR_SIZE = 0.02
_SIZES = ("num_active_non_embedding_params", "num_active_params", "num_params")


class NoSample(UserError, DeadEnd):
    """No sample met the constraints: an error where a space is checked, a dead end like others where a search draws."""

    def __init__(self, dead_end: DeadEnd, never: Unreachable | None = None) -> None:
        """Tells of the constraint that cannot be met, or else of the one that most draws broke.

        Args:
            dead_end: what was thrown away.
            never: the constraint that no architecture of the space meets, if there is one.
        """
        DeadEnd.__init__(self, dead_end.stage, dead_end.tries, dead_end.rejected)
        if never is not None:
            UserError.__init__(self, f"space.constraints.{never.name}", never.bound, never.fix)
            return
        counts = Counter({name: count for (_, name), count in dead_end.rejected.items()})
        reason, count = (counts or Counter({"any size": dead_end.tries})).most_common(1)[0]
        fix = f"none of {dead_end.tries} draws met the constraints, {count} of them broke this one; widen it"
        UserError.__init__(self, "space.constraints", reason, f"{fix}, or the depth, widths and domains")


def sample(space: Space, vocab_size: int, rng: np.random.Generator, stratum: Stratum | None = None) -> Variation:
    """An architecture of the space, evenly over the marginals that `Stratum` lists.

    Depth is uniform, and so is the logarithm of the size between a budget's bounds; kinds are drawn by weight, all
    else of a block uniformly over what is valid, and the free widths are solved for the size. A stratum in which
    nothing meets the constraints is left for another one.

    Args:
        space: what may be drawn.
        vocab_size: the tokenizer's.
        rng: the source of chance.
        stratum: where in the prior to draw; None is anywhere.

    Raises:
        NoSample: no draw met the constraints.
    """
    tries, place = 0, stratum or draw_stratum(rng)

    def draw() -> Edit | None:
        nonlocal tries
        tries += 1
        # This is looked at once there is reason to: to see that a space is empty takes as long as a draw.
        if tries == 2 and (never := unreachable(space, vocab_size)) is not None:
            raise NoSample(DeadEnd("sample", 1, {("sample", f"{never.name} {never.bound}"): 1}), never)
        if tries <= _STRATUM_TRIES:
            return _draw(space, vocab_size, place, rng)
        if tries <= 2 * _STRATUM_TRIES:
            # Some depths do not have every size.
            return _draw(space, vocab_size, dataclasses.replace(place, size=rng.random()), rng)
        anywhere = draw_stratum(rng)
        return _draw(space, vocab_size, anywhere, rng) or _draw_of_any_size(space, vocab_size, anywhere, rng)

    try:
        return draw_until_accepted("sample", space, draw, SAMPLE_TRIES)
    except NoSample:
        raise
    except DeadEnd as dead_end:
        raise NoSample(dead_end) from None


def draw_unit(space: Space, d_model: int, rng: np.random.Generator) -> Unit:
    """One layer, or one block when the pattern is free.

    Args:
        space: gives the kinds of each place and their choices.
        d_model: the width that the blocks stand in.
        rng: draws kinds and sizes.
    """
    choices = space.choices(d_model)
    return tuple(choices.draw(kinds, rng) for kinds in space.unit_kinds(d_model))


def _draw(space: Space, vocab_size: int, stratum: Stratum, rng: np.random.Generator) -> Edit | None:
    """At the first width, in an order drawn, at which the size can be had; None if there is none."""
    depth = _depth(space, stratum)
    tied = space.tie_embeddings[int(rng.integers(len(space.tie_embeddings)))]
    wanted = _wanted(space.constraints.limits, stratum.size)
    for d_model in rng.permutation(space.d_model).tolist():
        choices = space.choices(d_model)
        kinds = draw_kinds(space, d_model, depth, stratum, rng)
        bounds = fixed_costs(d_model, vocab_size, tied, len(kinds)) + choices.cost_bounds(kinds)
        if wanted is not None and not wanted.meet(*bounds):
            continue
        sized = _sized(space, _assembled(choices, kinds, vocab_size, tied, rng), wanted, stratum.size)
        if sized is not None:
            return Edit(sized, "sample")
    return None


def _draw_of_any_size(space: Space, vocab_size: int, stratum: Stratum, rng: np.random.Generator) -> Edit:
    d_model = space.d_model[int(rng.integers(len(space.d_model)))]
    tied = space.tie_embeddings[int(rng.integers(len(space.tie_embeddings)))]
    kinds = draw_kinds(space, d_model, _depth(space, stratum), stratum, rng)
    return Edit(_assembled(space.choices(d_model), kinds, vocab_size, tied, rng), "sample")


def _depth(space: Space, stratum: Stratum) -> int:
    return space.depth.min + int(stratum.depth * (space.depth.max - space.depth.min + 1))


def _assembled(
    choices: Choices, kinds: list[str], vocab_size: int, tied: bool, rng: np.random.Generator
) -> Architecture:
    blocks = tuple(choices.draw_of(kind, rng) for kind in kinds)
    return Architecture(d_model=choices.d_model, vocab_size=vocab_size, tie_embeddings=tied, blocks=blocks)


def _wanted(limits: Limits, quantile: float) -> Limits | None:
    """The limits with a size between a budget's bounds; None where no count is bounded on both sides."""
    for name in _SIZES:
        low, high = limits.low[COSTS.index(name)], limits.high[COSTS.index(name)]
        if low > 0 and math.isfinite(high):
            return _about(limits, name, float(low), float(high), quantile)
    return None


def _about(limits: Limits, name: str, low: float, high: float, quantile: float) -> Limits:
    size = low * (high / low) ** quantile
    return limits.within(name, size * (1 - _NEAR_SIZE), size * (1 + _NEAR_SIZE))


def _sized(space: Space, architecture: Architecture, wanted: Limits | None, quantile: float) -> Architecture | None:
    """The architecture with its free widths solved for a size; None where they cannot give it.

    Without a size that is wanted of all, it is one of those that the widths reach.
    """
    stack = Stack(space, architecture)
    free = free_blocks(stack)
    if wanted is None:
        limits, index = space.constraints.limits, COSTS.index(_SIZES[0])
        narrow, wide = (float(costs[index]) for costs in stack.bounds(free))
        low, high = max(narrow, float(limits.low[index])), min(wide, float(limits.high[index]))
        wanted = _about(limits, _SIZES[0], low, max(low, high), quantile)
    rungs = stack.solve(wanted, free)
    return None if rungs is None else stack.on(rungs)
