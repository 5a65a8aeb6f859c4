"""What a whole architecture must satisfy: budgets, and how many blocks of a kind it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from harmony_core.architecture import Architecture, block_kinds
from harmony_core.base import Frozen
from harmony_core.space.limits import Range


class Constraints(Frozen):
    """Budgets of an architecture, met by drawing again.

    Args:
        num_params: all parameters.
        num_active_params: parameters of one token's pass, the input embedding included.
        num_active_non_embedding_params: what one token multiplies with, the budget of comparisons.
        kv_bytes_per_token: cache bytes (bf16) that each token adds.
        state_bytes: recurrent state bytes (bf16) a sequence.
        num_mixers: token mixers; at least one unless said otherwise.
        count: blocks of a kind.
    """

    num_params: Range = Range()
    num_active_params: Range = Range()
    num_active_non_embedding_params: Range = Range()
    kv_bytes_per_token: Range = Range()
    state_bytes: Range = Range()
    num_mixers: Range = Range(min=1)
    count: dict[str, Range] = Field(default={})

    @model_validator(mode="after")
    def _check(self) -> Self:
        for kind in self.count:
            if kind not in block_kinds():
                raise ValueError(f"count names {kind!r}; use kinds among {', '.join(block_kinds())}")
        return self

    def broken(self, architecture: Architecture) -> Iterator[tuple[str, float]]:
        """What is not satisfied: (`num_params above max 4000000`, the value found)."""
        for name in type(self).model_fields:
            if name == "count":
                continue
            limits: Range = getattr(self, name)
            if limits.is_open:
                continue
            found = getattr(architecture, name)
            value = found() if callable(found) else found
            if side := limits.broken_by(value):
                yield f"{name} {side}", value
        if self.count:
            kinds = Counter(block.kind for block in architecture.blocks)
            for kind, limits in self.count.items():
                if side := limits.broken_by(kinds[kind]):
                    yield f"count of {kind} {side}", kinds[kind]
