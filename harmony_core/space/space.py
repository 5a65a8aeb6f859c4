"""The search space: depth, width, block domains and constraints, read from YAML."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from harmony_core import bounds
from harmony_core.architecture import Architecture, Role, block_class, block_kinds, is_block_kind
from harmony_core.architecture.demands import Demands
from harmony_core.base import Frozen, digest, read_yaml
from harmony_core.errors import UserError
from harmony_core.resources import named_yaml
from harmony_core.space.block_space import BlockSpace
from harmony_core.space.choices import Choices
from harmony_core.space.constraints import Constraints
from harmony_core.space.limits import Depth

# A balancing bias must be able to move this far in a training. A range of 0.1 leaves twice the imbalance that 0.3
# leaves (benchmarks/balancing.py).
BALANCING_PATH = 0.25
LAYER_ROLES: tuple[Role, ...] = ("mixer", "channel")


class Space(Frozen):
    """What may be searched.

    Args:
        pattern: `layers` are a mixer block followed by a channel block each; `free` is any sequence.
        depth: how many layers, or blocks when `free`.
        d_model: the widths.
        tie_embeddings: whether the output head may be, or not be, the embedding.
        blocks: the kinds and their domains.
        constraints: what a whole architecture must satisfy.
        mutations: operators of other distributions, each drawn as often as each of HARMONY's own.
    """

    pattern: Literal["layers", "free"] = "layers"
    depth: Depth
    d_model: tuple[Annotated[int, Field(ge=1, le=bounds.WIDTH)], ...]
    tie_embeddings: tuple[bool, ...] = (True,)
    blocks: dict[str, BlockSpace]
    constraints: Constraints = Constraints()
    mutations: tuple[str, ...] = ()

    @classmethod
    def from_yaml(cls, name_or_path: str | Path) -> Space:
        """Reads a space of resources/spaces by name, or any `.yaml` file; mistakes are `UserError`."""
        path = named_yaml("spaces", name_or_path)
        return cls.parse(read_yaml(path), path.name)

    @classmethod
    def read(cls, space: str | dict[str, Any]) -> Space:
        """A space given by name, by path, or in full."""
        return cls.parse(space, "space") if isinstance(space, dict) else cls.from_yaml(space)

    @field_validator("d_model", "tie_embeddings")
    @classmethod
    def _some(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError("list at least one choice, each once")
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        for kind in self.blocks:
            if not is_block_kind(kind):
                raise UserError(f"blocks.{kind}", kind, f"unknown kind; use {', '.join(block_kinds())}")
        for d_model, choices in self._choices.items():
            if not choices.kinds():
                raise UserError("d_model", d_model, "no block fits this width; remove it, or widen blocks")
            for role in LAYER_ROLES if self.pattern == "layers" else ():
                if not any(block_class(kind).role == role for kind in choices.kinds()):
                    fix = f"no {role} fits this width, and a layer needs one; widen blocks or use pattern free"
                    raise UserError("d_model", d_model, fix)
        return self

    @cached_property
    def _choices(self) -> dict[int, Choices]:
        combinations = {kind: space.combinations(kind) for kind, space in self.blocks.items()}
        return {d_model: Choices(self.blocks, combinations, d_model) for d_model in self.d_model}

    @property
    def id(self) -> str:
        """First 16 hex digits of the SHA-256 of the space's canonical JSON."""
        # A field that is not asked for does not change the id of a space.
        return digest(self.model_dump(mode="json", exclude=None if self.mutations else {"mutations"}))

    def check_length(self, sequence_length: int) -> None:
        """Refuses sequences that are too short for a block that may be drawn (`Architecture.check_length`)."""
        for choices in self._choices.values():
            for kind in choices.kinds():
                for block in choices.blocks(kind):
                    try:
                        block.check_length(sequence_length)
                    except ValueError as error:
                        value = f"recipe.sequence_length {sequence_length}"
                        raise UserError(f"space.blocks.{kind}", value, str(error)) from None

    def check_demands(self, demands: Demands) -> None:
        """Refuses what a block that may be drawn has not got (`Architecture.check_demands`)."""
        for choices in self._choices.values():
            for kind in choices.kinds():
                for block in choices.blocks(kind):
                    refused = demands.refused(block)
                    if refused is not None:
                        raise UserError(f"space.blocks.{kind}", refused[0], f"it {refused[1]}")

    def slow_balancing(self, num_steps: int) -> str | None:
        """A warning where a balancing bias cannot move far enough in so many steps to even the load; else None."""
        rates = {
            (block.balancing_rate, kind)
            for choices in self._choices.values()
            for kind in choices.kinds("channel")
            for block in choices.blocks(kind)
            if block.balancing_rate is not None
        }
        slow = [found for found in sorted(rates) if found[0] * num_steps < BALANCING_PATH]
        if not slow:
            return None
        fix = f"use at least {BALANCING_PATH / num_steps:.2g}, or aux"
        rate, kind = slow[0]
        return f"space.blocks.{kind}.domains.bias_update_rate: {rate:g} over {num_steps} steps evens no load; {fix}"

    @property
    def unit_size(self) -> int:
        """Blocks in one unit of depth: 2 in a layer, 1 when `free`."""
        return len(LAYER_ROLES) if self.pattern == "layers" else 1

    @property
    def unit_name(self) -> str:
        """What a unit of depth is called."""
        return "layer" if self.pattern == "layers" else "block"

    def choices(self, d_model: int) -> Choices:
        """The blocks offered at one of the space's widths."""
        return self._choices[d_model]

    def unit_kinds(self, d_model: int) -> tuple[tuple[str, ...], ...]:
        """For each block of a unit, the kinds that may stand there."""
        choices = self.choices(d_model)
        if self.pattern == "free":
            return (choices.kinds(),)
        return (choices.kinds("mixer"), choices.kinds("channel"))

    def violations(self, architecture: Architecture) -> list[str]:
        """Why the architecture is not in this space, one short text a reason; empty when it is."""
        found = self.structure_violations(architecture)
        found += [f"{reason}: {value:.12g}" for reason, value in self.constraints.broken(architecture)]
        return found

    def structure_violations(self, architecture: Architecture) -> list[str]:
        """As `violations`, the constraints aside."""
        return list(self._structure_violations(architecture))

    def _structure_violations(self, architecture: Architecture) -> Iterator[str]:
        blocks, size = architecture.blocks, self.unit_size
        depth = len(blocks) / size
        if not self.depth.min <= depth <= self.depth.max:
            yield f"depth {depth:g} is outside {self.depth.min}-{self.depth.max} {self.unit_name}s"
        if architecture.tie_embeddings not in self.tie_embeddings:
            yield f"tie_embeddings {architecture.tie_embeddings} is not a choice"
        if self.pattern == "layers":
            for index, block in enumerate(blocks):
                if block.role != LAYER_ROLES[index % size]:
                    yield f"block {index} ({block.kind}) is not the {LAYER_ROLES[index % size]} of a layer"
        if architecture.d_model not in self.d_model:
            yield f"d_model {architecture.d_model} is not among {list(self.d_model)}"
            return
        choices = self.choices(architecture.d_model)
        for index, block in enumerate(blocks):
            if not choices.holds(block):
                yield f"block {index} is not among the choices: {block.to_dict()}"
