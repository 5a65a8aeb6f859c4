"""Small spaces, completely: how many architectures there are, and every one of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from harmony_core.architecture import Architecture, Block
from harmony_core.space.space import Space


def num_architectures(space: Space) -> int:
    """Architectures before the constraints; two that have one id are counted twice."""
    total = 0
    for d_model in space.d_model:
        per_unit = math.prod(len(options) for options in _options(space, d_model))
        total += sum(per_unit**depth for depth in range(space.depth.min, space.depth.max + 1))
    return total * len(space.tie_embeddings)


def every_architecture(space: Space, vocab_size: int) -> Iterator[Architecture]:
    """Every architecture that meets the constraints, in a fixed order."""
    for d_model, tied in itertools.product(space.d_model, space.tie_embeddings):
        options = _options(space, d_model)
        for depth in range(space.depth.min, space.depth.max + 1):
            for blocks in itertools.product(*options * depth):
                architecture = Architecture(d_model=d_model, vocab_size=vocab_size, tie_embeddings=tied, blocks=blocks)
                if not any(True for _ in space.constraints.broken(architecture)):
                    yield architecture


def every_unit(space: Space, d_model: int) -> list[tuple[Block, ...]]:
    """Every layer at a width, or every block when the pattern is free, in a fixed order."""
    return list(itertools.product(*_options(space, d_model)))


def _options(space: Space, d_model: int) -> list[list[Block]]:
    choices = space.choices(d_model)
    return [[block for kind in kinds for block in choices.blocks(kind)] for kinds in space.unit_kinds(d_model)]
