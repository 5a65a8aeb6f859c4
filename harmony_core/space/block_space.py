"""What may be searched of one block kind: choices of each hyper-parameter, and the valid combinations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from harmony_core.architecture import Block, block_class
from harmony_core.base import Frozen, takes_numbers
from harmony_core.errors import UserError
from harmony_core.space import hyper_parameters
from harmony_core.space.limits import Grid, Range

MAX_COMBINATIONS = 50_000


class BlockSpace(Frozen):
    """The domain of one block kind.

    Args:
        weight: how often the kind is drawn, relative to the others.
        relative_size: bounds on active parameters / d_model^2, so that one list of choices serves
            several widths (multi-head attention as wide as the model has 4, Mamba-2 about 6).
        domains: the choices of each hyper-parameter, as a list or, of a whole number, as {min, max, step}; one
            that is left out keeps its default. Those of a block within a block are named `ssm.d_state`.
    """

    # The weight is relative to the other kinds: a kind that is a million times as frequent is the only one.
    weight: float = Field(default=1.0, gt=0, le=1e6)
    relative_size: Range = Range()
    domains: dict[str, Grid | tuple[Any, ...]] = Field(default={})

    def combinations(self, kind: str) -> tuple[Block, ...]:
        """Every block of this kind that is valid and learns in all its parts, whatever the width, in order.

        Raises:
            UserError: unknown or missing hyper-parameters, an empty list, a choice of the wrong type or
                one that no valid combination has, or too many combinations.
        """
        domains = self._checked_domains(kind)
        where = f"blocks.{kind}.domains"
        size = math.prod(len(values) for values in domains.values())
        if size > MAX_COMBINATIONS:
            raise UserError(where, f"{size} combinations", f"list fewer choices; {MAX_COMBINATIONS} at most")
        valid = tuple(_valid_blocks(kind, domains))
        blocks = tuple(block for block in valid if block.unreached() is None)
        for name, values in domains.items():
            used = set(map(attrgetter(name), blocks))
            for value in values:
                if value not in used:
                    raise UserError(f"{where}.{name}", value, _why_unused(name, value, valid))
        return blocks

    def allows(self, block: Block, d_model: int) -> bool:
        """Whether a valid block fits a model of this width and the bounds on its size."""
        try:
            block.check(d_model)
        except ValueError:
            return False
        return self.relative_size.broken_by(relative_size(block, d_model)) is None

    def _checked_domains(self, kind: str) -> dict[str, tuple[Any, ...]]:
        fields = hyper_parameters.fields(block_class(kind))
        where = f"blocks.{kind}.domains"
        for name in self.domains:
            if name not in fields:
                raise UserError(f"{where}.{name}", kind, f"unknown hyper-parameter; use {', '.join(fields)}")
        for name, field in fields.items():
            if field.is_required() and name not in self.domains:
                raise UserError(f"{where}.{name}", "missing", "it has no default; list its choices")
        return {
            name: _typed(f"{where}.{name}", fields[name].annotation, values) for name, values in self.domains.items()
        }


def relative_size(block: Block, d_model: int) -> float:
    """Active parameters of the block in units of d_model^2."""
    return block.num_active_params(d_model) / d_model**2


def _why_unused(name: str, value: Any, valid: tuple[Block, ...]) -> str:
    for block in valid:
        if hyper_parameters.value(block, name) == value:
            return f"no loss reaches {block.unreached()}; or remove the choice"
    return "no valid combination has it; remove it, or give the others choices that fit"


def _typed(where: str, annotation: Any, choices: Grid | tuple[Any, ...]) -> tuple[Any, ...]:
    values = choices.values() if isinstance(choices, Grid) else choices
    if not values:
        raise UserError(where, "[]", "no choices; list at least one")
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
    typed = []
    for value in values:
        if isinstance(value, bool) and takes_numbers(annotation):
            raise UserError(where, value, "use a number")
        try:
            typed.append(adapter.validate_python(value))
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise UserError(where, value, message[0].lower() + message[1:]) from None
    if len(set(typed)) < len(typed):
        raise UserError(where, list(values), "a choice is listed twice; list each once")
    return tuple(typed)


def _valid_blocks(kind: str, domains: dict[str, tuple[Any, ...]]) -> Iterator[Block]:
    cls = block_class(kind)
    for values in itertools.product(*domains.values()):
        try:
            yield hyper_parameters.make(cls, dict(zip(domains, values, strict=True)))
        except ValidationError:
            # These choices do not go together, such as more KV heads than heads.
            continue
