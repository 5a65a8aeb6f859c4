"""Bounds on a quantity."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from harmony_core.base import Frozen


class Range(Frozen):
    """A closed interval; a side left out is open.

    Args:
        min: smallest value allowed.
        max: largest value allowed.
    """

    min: float | None = None
    max: float | None = None

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


class Depth(Frozen):
    """How many units (layers or blocks) an architecture has.

    Args:
        min: fewest.
        max: most.
    """

    min: int
    max: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 1 <= self.min <= self.max:
            raise ValueError(f"min {self.min} and max {self.max} are no range of depths; use 1 <= min <= max")
        return self
