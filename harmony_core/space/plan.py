"""Which kinds of blocks a sample has, and where: by role, by how many kinds of mixers, with experts or without."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Role, block_class
from harmony_core.space.choices import Choices
from harmony_core.space.space import LAYER_ROLES, Space
from harmony_core.space.strata import Stratum

# The share of stacks with one kind of token mixer, and the share with at most two. All others have any number.
_ONE_KIND, _TWO_KINDS = 0.25, 0.5


def draw_kinds(space: Space, d_model: int, depth: int, stratum: Stratum, rng: np.random.Generator) -> list[str]:
    """The kind of every block, in order.

    Args:
        space: its pattern, and the kinds with their weights.
        d_model: the width, which not every kind may fit.
        depth: units.
        stratum: says which mixer is there, how many kinds of them, and how many mixtures of experts.
        rng: the source of all else.
    """
    choices = space.choices(d_model)
    roles = _roles(space, choices, depth, rng)
    kinds = {
        "mixer": iter(_mixers(choices, roles.count("mixer"), stratum, rng)),
        "channel": iter(_channels(choices, roles.count("channel"), stratum, rng)),
    }
    return [next(kinds[role]) for role in roles]


def _roles(space: Space, choices: Choices, depth: int, rng: np.random.Generator) -> list[Role]:
    if space.pattern == "layers":
        return [*LAYER_ROLES] * depth
    kinds = choices.kinds()
    return [block_class(choices.kind_at(kinds, rng.random())).role for _ in range(depth)]


def _mixers(choices: Choices, count: int, stratum: Stratum, rng: np.random.Generator) -> list[str]:
    kinds = choices.kinds("mixer")
    if not count:
        return []
    first = choices.kind_at(kinds, stratum.mixer)
    others = tuple(kind for kind in kinds if kind != first)
    if stratum.variety < _ONE_KIND or not others:
        return [first] * count
    if stratum.variety < _TWO_KINDS:
        kinds = (first, choices.kind_at(others, rng.random()))
        drawn = [kinds[int(rng.integers(2))] for _ in range(count)]
    else:
        drawn = [choices.kind_at(kinds, rng.random()) for _ in range(count)]
    drawn[int(rng.integers(count))] = first
    return drawn


def _channels(choices: Choices, count: int, stratum: Stratum, rng: np.random.Generator) -> list[str]:
    kinds = choices.kinds("channel")
    sparse = tuple(kind for kind in kinds if any(ladder.is_sparse for ladder in choices.ladders(kind)))
    dense = tuple(kind for kind in kinds if kind not in sparse)
    share = sum(map(choices.weight, sparse)) / sum(map(choices.weight, kinds)) if kinds else 0.0
    # The stratum's upper end has experts: at first in one block, at the very end in all.
    place = (stratum.experts - (1 - share)) / share if share else -1.0
    wanted = 0 if place < 0 or not count else 1 + min(int(place * count), count - 1)
    if not dense:
        wanted = count
    chosen = set(rng.permutation(count)[:wanted].tolist())
    return [choices.kind_at(sparse if index in chosen else dense, rng.random()) for index in range(count)]
