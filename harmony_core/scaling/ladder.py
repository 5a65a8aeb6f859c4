"""The sizes of one architecture, and the tokens that each reads on a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.scaling.config import IsoflopConfig
from harmony_core.scaling.resize import resized

_SHARE_OF_WARMUP = 0.05
# Of the ladder, up or down: at the least spacing, 20 times the size.
_MOST_STEPS = 64


@dataclass(frozen=True)
class Ladder:
    """Sizes by step, each `spacing` times the one below; step 0 is the architecture as it is.

    Args:
        name: of its preset or file.
        origin: step 0, with the data's vocabulary.
        config: spacing, recipe and budgets.
    """

    name: str
    origin: Architecture
    config: IsoflopConfig
    _grown: dict[int, Architecture] = field(default_factory=dict, compare=False)

    def at(self, step: int) -> Architecture:
        """The architecture of a size.

        Raises:
            UserError: no width comes within 2% of it.
        """
        if step not in self._grown:
            size = round(self.origin.num_active_non_embedding_params() * self.config.spacing**step)
            try:
                self._grown[step] = self.origin if step == 0 else resized(self.origin, size)
            except UserError as error:
                raise UserError("architectures", self.name, f"with {size} parameters {error.fix}") from None
        return self._grown[step]

    def tokens(self, step: int, budget: float) -> int:
        """Tokens that a size reads on a budget [FLOP], in whole optimiser steps; 0 where it pays for none."""
        recipe = self.config.recipe
        of_step = recipe.batch_size * recipe.sequence_length
        return round(budget / self.flops_per_token(step) / of_step) * of_step

    def flops_per_token(self, step: int) -> float:
        """Of a training."""
        return self.at(step).flops_per_token(self.config.recipe.sequence_length, "train")

    def warmup_tokens(self, step: int) -> int:
        """The warm-up of a size, the same on all budgets: else their trunks would differ."""
        given = self.config.recipe.warmup_tokens
        return round(_SHARE_OF_WARMUP * self.tokens(step, self.config.budgets[0])) if given is None else given

    def nearest(self, budget: float) -> int:
        """The size whose tokens a parameter are nearest to the configuration's."""
        wanted = math.log(self.config.tokens_per_param)

        def miss(step: int) -> float:
            size = self.origin.num_active_non_embedding_params() * self.config.spacing**step
            return abs(math.log(budget / self._flops(size) / size) - wanted)

        return min(range(-_MOST_STEPS, _MOST_STEPS + 1), key=miss)

    def _flops(self, size: float) -> float:
        # Before a width is solved: in proportion to the parameters, as a token multiplies with each of them once.
        own = self.origin.flops_per_token(self.config.recipe.sequence_length, "train")
        return own * size / self.origin.num_active_non_embedding_params()
