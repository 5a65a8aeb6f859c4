"""Bounds on a quantity."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from harmony_core import bounds
from harmony_core.base import Frozen


class Range(Frozen):
    """A closed interval; a side left out is open.

    Args:
        min: smallest value allowed.
        max: largest value allowed.
    """

    min: float | None = Field(default=None, ge=0, le=bounds.METRIC)
    max: float | None = Field(default=None, ge=0, le=bounds.METRIC)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}; use a max that is at least min")
        return self

    @property
    def is_open(self) -> bool:
        """Whether every value is allowed."""
        return self.min is None and self.max is None

    def broken_by(self, value: float) -> str | None:
        """`below min 3` or `above max 7`, or None where the value is inside."""
        if self.min is not None and value < self.min:
            return f"below min {self.min:.12g}"
        if self.max is not None and value > self.max:
            return f"above max {self.max:.12g}"
        return None


class Grid(Frozen):
    """Whole numbers a step apart, the choices of a width that budgets are solved with.

    Args:
        min: the smallest.
        max: the largest allowed; it is a choice where whole steps lead there.
        step: their distance, such as the multiple that the hardware likes.
    """

    min: int = Field(ge=1, le=bounds.WIDTH)
    max: int = Field(ge=1, le=bounds.WIDTH)
    step: int = Field(ge=1, le=bounds.WIDTH)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}; use a max that is at least min")
        return self

    def values(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(range(self.min, self.max + 1, self.step))


class Depth(Frozen):
    """How many units (layers or blocks) an architecture has.

    Args:
        min: fewest.
        max: most.
    """

    min: int = Field(ge=1, le=bounds.DEPTH)
    max: int = Field(ge=1, le=bounds.DEPTH)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} and max {self.max} are no range of depths; use min <= max")
        return self
