"""What a whole architecture must satisfy: budgets, and how many blocks of a kind it has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator

from harmony_core.architecture import Architecture, block_kinds, is_block_kind
from harmony_core.base import Frozen
from harmony_core.metrics import METRICS, is_metric, metric, static_metrics
from harmony_core.space.ladder import COSTS
from harmony_core.space.limits import Range


class Limits:
    """Bounds on costs, one element for each of `COSTS`; infinite where there is none.

    Args:
        low: the least allowed.
        high: the most allowed.
    """

    def __init__(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        self.low, self.high = low, high
        # A bound of zero, such as no cache at all, is missed in whole units.
        self._unit_low, self._unit_high = (np.where(np.isfinite(b) & (b > 0), b, 1.0) for b in (low, high))

    def excess(self, costs: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much costs [.., COSTS] are outside, in units of the bounds and summed: [..]; 0 is inside."""
        below = np.maximum(self.low - costs, 0) / self._unit_low
        above = np.maximum(costs - self.high, 0) / self._unit_high
        return np.asarray((below + above).sum(-1))

    def meet(self, least: NDArray[np.float64], most: NDArray[np.float64]) -> bool:
        """Whether costs between these two, each by itself, may be inside."""
        return bool((least <= self.high).all() and (most >= self.low).all())

    def within(self, name: str, low: float, high: float) -> Limits:
        """The same with narrower bounds on one cost.

        Args:
            name: one of `COSTS`.
            low: its new lower bound, in its own unit; a bound that is narrower already stays.
            high: its new upper bound, likewise.
        """
        lows, highs, index = self.low.copy(), self.high.copy(), COSTS.index(name)
        lows[index], highs[index] = max(lows[index], low), min(highs[index], high)
        return Limits(lows, highs)


class Constraints(Frozen):
    """Budgets of an architecture; its widths are solved for those that add up over blocks.

    Any other static metric may be bounded under its name; draws that miss it are made again.

    Args:
        num_params: all parameters.
        num_active_params: parameters of one token's pass, the input embedding included.
        num_active_non_embedding_params: what one token multiplies with, the budget of comparisons.
        kv_bytes_per_token: cache bytes (bf16) that each token adds.
        state_bytes: recurrent state bytes (bf16) a sequence.
        num_mixers: token mixers; at least one unless said otherwise.
        count: blocks of a kind.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Range] = Field(init=False)

    num_params: Range = Range()
    num_active_params: Range = Range()
    num_active_non_embedding_params: Range = Range()
    kv_bytes_per_token: Range = Range()
    state_bytes: Range = Range()
    num_mixers: Range = Range(min=1)
    count: dict[str, Range] = Field(default={})

    @classmethod
    def known_keys(cls) -> list[str]:
        """As `Frozen.known_keys`: with the metrics that have no field."""
        return list(dict.fromkeys([*cls.model_fields, *(one.name for one in static_metrics(at_length=False))]))

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core))
        others = [name for name in cls.known_keys() if name not in cls.model_fields]
        schema["properties"].update({name: handler(Range.__pydantic_core_schema__) for name in others})
        return {**schema, "additionalProperties": False}

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        unknown = [key for key in data if key not in cls.known_keys()] if isinstance(data, Mapping) else []
        # This imports other distributions, which may know the key.
        unknown = [key for key in unknown if not is_metric(str(key)) or key not in cls.known_keys()]
        if unknown:
            mistakes: list[Any] = [
                {"type": "extra_forbidden", "loc": (str(key),), "input": data[key]} for key in unknown
            ]
            raise ValidationError.from_exception_data(cls.__name__, mistakes)
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        for kind in self.count:
            if not is_block_kind(kind):
                raise ValueError(f"count names {kind!r}; use kinds among {', '.join(block_kinds())}")
        return self

    @cached_property
    def limits(self) -> Limits:
        """The bounds on what adds up over blocks."""
        ranges = [getattr(self, name) for name in COSTS]
        low = [-math.inf if one.min is None else one.min for one in ranges]
        return Limits(np.array(low), np.array([math.inf if one.max is None else one.max for one in ranges]))

    def broken(self, architecture: Architecture) -> Iterator[tuple[str, float]]:
        """What is not satisfied: (`num_params above max 4000000`, the value found)."""
        for name, limits in self:
            if not isinstance(limits, Range) or limits.is_open:
                continue
            value = metric(name).of(architecture) if name in METRICS else getattr(architecture, name)
            if side := limits.broken_by(value):
                yield f"{name} {side}", value
        if self.count:
            kinds = Counter(block.kind for block in architecture.blocks)
            for kind, limits in self.count.items():
                if side := limits.broken_by(kinds[kind]):
                    yield f"count of {kind} {side}", kinds[kind]
