"""How what a search found becomes large: a way to more blocks, and a width for a number of parameters. No torch."""

from __future__ import annotations

from pydantic import Field, model_validator

from harmony_core import bounds
from harmony_core.architecture import Architecture
from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.scaling.extrapolate import WAYS, deepened
from harmony_core.scaling.resize import resized

# More parameters than any published model has.
_MOST_PARAMS = 10**15

# Growth in width alone, beside the ways to more blocks.
WIDTH = "width"


class Growth(Frozen):
    """One target size.

    Args:
        by: `width`, or the name of a way to more blocks, after which the width is solved.
        params: active non-embedding parameters, met within 2%; those of the baselines beside it too.
        blocks: how many, for a way to more of them.
    """

    by: str = WIDTH
    params: int = Field(ge=1, le=_MOST_PARAMS)
    blocks: int | None = Field(default=None, ge=1, le=bounds.DEPTH)

    @model_validator(mode="after")
    def _check(self) -> Growth:
        if self.by != WIDTH and self.by not in WAYS:
            raise UserError("by", self.by, f"use {', '.join([WIDTH, *WAYS])}")
        if (self.by == WIDTH) != (self.blocks is None):
            fix = "width keeps the blocks; leave it out" if self.by == WIDTH else f"say how many blocks {self.by} makes"
            raise UserError("blocks", "missing" if self.blocks is None else self.blocks, fix)
        return self

    def grow(self, architecture: Architecture) -> Architecture:
        """The architecture at this size.

        Raises:
            UserError: it has no such depth or width.
        """
        return self.widen(architecture if self.blocks is None else deepened(architecture, self.by, self.blocks))

    def widen(self, architecture: Architecture) -> Architecture:
        """With its own blocks, at the target's parameters: what a baseline becomes; UserError as for `grow`."""
        return resized(architecture, self.params)

    def __str__(self) -> str:
        depth = "" if self.blocks is None else f"{self.by} to {self.blocks} blocks, "
        return f"{depth}width for {self.params} parameters"
