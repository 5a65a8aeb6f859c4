"""What the made-up problems see of an architecture: its layers' kinds, and how far its choices are from good ones.

Sizes are left out, since a budget ties them: an edit may move them for reasons of its own.
"""

from __future__ import annotations

import statistics
from functools import cached_property
from typing import Any

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.architecture.block import Block
from harmony_core.space import Space, hyper_parameters

VOCAB_SIZE = 257
ATTENTION = frozenset({"mha", "mqa", "gqa", "mla", "swa"})
_HEADS = frozenset({"num_heads", "num_kv_heads", "num_key_heads", "num_value_heads"})
_SIZES = _HEADS | {"d_state", "expand", "inner_width", "d_ff", "d_expert", "n_routed"}
_WITNESS_TRIES = 20_000

# A layer's kinds: its mixer's and its channel mixer's.
Layer = tuple[str, str]


class Genes:
    """The kinds of a space of layers, and the choices of each that are decreed to be good.

    Args:
        space: of the pattern `layers`.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.width = sorted(space.d_model)[len(space.d_model) // 2]
        self.mixers, self.channels = space.unit_kinds(self.width)
        # The choices of a block in the middle of those offered: some block has them all.
        self.good = {kind: self._middle(kind) for kind in (*self.mixers, *self.channels)}

    def layers(self, architecture: Architecture) -> list[Layer]:
        """The kinds of each layer."""
        kinds = [block.kind for block in architecture.blocks]
        return list(zip(kinds[::2], kinds[1::2], strict=True))

    def flaws(self, architecture: Architecture) -> float:
        """Mean over the blocks of the share of their choices that are not the good ones."""
        return statistics.mean(self._flaws(block) for block in architecture.blocks)

    def witness(self, layers: list[Layer]) -> Architecture:
        """An architecture of the space with these kinds and without a flaw: what is decreed can be had."""
        rng = np.random.default_rng(0)
        offered = [self._flawless[kind] for layer in layers for kind in layer]
        for _ in range(_WITNESS_TRIES):
            blocks = tuple(some[int(rng.integers(len(some)))] for some in offered)
            made = Architecture(d_model=self.width, vocab_size=VOCAB_SIZE, blocks=blocks)
            if not self.space.violations(made):
                return made
        raise ValueError(f"no flawless architecture of {layers} was found in the space")

    @cached_property
    def _flawless(self) -> dict[str, list[Block]]:
        choices = self.space.choices(self.width)
        return {kind: [block for block in choices.blocks(kind) if self._flaws(block) == 0] for kind in self.good}

    def _flaws(self, block: Block) -> float:
        good = self.good[block.kind]
        return sum(hyper_parameters.value(block, name) != value for name, value in good.items()) / max(1, len(good))

    def _middle(self, kind: str) -> dict[str, Any]:
        blocks = self.space.choices(self.width).blocks(kind)
        block = blocks[len(blocks) // 2]
        names = [name for name in self.space.blocks[kind].domains if name.rpartition(".")[2] not in _SIZES]
        return {name: hyper_parameters.value(block, name) for name in names}
