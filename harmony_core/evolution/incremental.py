"""Engines that search a few units of depth at a time and freeze them (Composer, arXiv:2510.00379)."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from harmony_core import bounds
from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.evolution.context import Context
from harmony_core.evolution.engine import ENUMERABLE, Engine, EngineConfig, Open
from harmony_core.evolution.merit import merits
from harmony_core.space import Space
from harmony_core.space.enumeration import every_unit
from harmony_core.space.variation import Unit, units_of


class IncrementalConfig(EngineConfig):
    """How many units a step adds, and how many of its designs are trained; else as `EngineConfig`.

    Args:
        step: units of depth that a step searches, n: Z^n designs of the Z units that the space offers.
        trials: designs of a step that are trained; None is all, and then it is of no effect how they are picked.
    """

    step: int = Field(default=2, ge=1, le=bounds.DEPTH)
    trials: int | None = Field(default=None, ge=1, le=ENUMERABLE)

    def check_space(self, space: Space, population: int) -> None:
        """As `AlgorithmConfig.check_space`: steps must lead to the space's depth, and generations to a step's end."""
        super().check_space(space, population)
        depth, where = space.depth, "search.algorithm.step"
        if depth.max % self.step:
            raise UserError(where, self.step, f"steps of it do not lead to space.depth.max {depth.max}; use a divisor")
        if depth.min > self.step:
            fix = f"the first step trains {self.step} {space.unit_name}s; use at most {self.step}"
            raise UserError("space.depth.min", depth.min, fix)
        for name, choices in (("d_model", space.d_model), ("tie_embeddings", space.tie_embeddings)):
            if len(choices) > 1:
                fix = "an engine that freezes units needs one choice of it; leave one, or use one_shot"
                raise UserError(f"space.{name}", list(choices), fix)
        num_units = len(every_unit(space, space.d_model[0]))
        if self.step * np.log(num_units) > np.log(ENUMERABLE):
            fix = f"{num_units} units give more than {ENUMERABLE} designs a step; use a smaller step or fewer choices"
            raise UserError(where, self.step, fix)
        wanted = min(self.trials or ENUMERABLE, num_units**self.step)
        if wanted % population:
            fix = f"a step trains {wanted} designs before the next one begins; use a divisor of that"
            raise UserError("search.population", population, fix)


class Incremental(Engine):
    """Trains the designs of a step, freezes the best of them, and goes on from it.

    Where the frozen part is cut is the subclass's. Steps that are over, and what was best in each, follow from the
    history. A generation that has more candidates than are open, or that waits for a result, is filled with samples.
    """

    settings: IncrementalConfig

    @abstractmethod
    def place(self, frozen: Sequence[Unit]) -> int:
        """Before which of the frozen units a step's new ones stand."""

    def open(self, context: Context, rng: np.random.Generator) -> Open:
        """As `Engine.open`: the designs of the first step that is not over."""
        known = merits(context.history, self.objectives)
        frozen: list[Unit] = []
        parents: tuple[str, ...] = ()
        while len(frozen) < context.space.depth.max:
            designs = self._designs(context, frozen)
            tried = [one for one in designs if one.id in context.trials]
            wanted = min(self.settings.trials or len(designs), len(designs))
            if len(tried) < wanted:
                return Open(designs, self._told(frozen), parents, room=wanted - len(tried))
            ended = [one for one in tried if context.trials[one.id].status is not None]
            if len(ended) < wanted:
                return Open()
            best = max(ended, key=lambda one: known.get(one.id, -np.inf))
            frozen, parents = units_of(context.space, best), (best.id,)
        return Open()

    def _designs(self, context: Context, frozen: Sequence[Unit]) -> list[Architecture]:
        space, place = context.space, self.place(frozen)
        d_model, tied = space.d_model[0], space.tie_embeddings[0]
        size = min(self.settings.step, space.depth.max - len(frozen))
        found = []
        for new in itertools.product(every_unit(space, d_model), repeat=size):
            units = (*frozen[:place], *new, *frozen[place:])
            blocks = tuple(block for unit in units for block in unit)
            design = Architecture(d_model=d_model, vocab_size=context.vocab_size, tie_embeddings=tied, blocks=blocks)
            if not any(True for _ in space.constraints.broken(design)):
                found.append(design)
        return found

    def _told(self, frozen: Sequence[Unit]) -> str:
        return f"step {len(frozen) // self.settings.step}, {len(frozen)} frozen"
