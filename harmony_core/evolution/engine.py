"""What Composer's engines share (arXiv:2510.00379): designs that are open, of which one is picked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harmony_core import bounds
from harmony_core.architecture import Architecture
from harmony_core.evolution.bayesian import Surrogate, require_botorch
from harmony_core.evolution.context import Context
from harmony_core.evolution.merit import merits
from harmony_core.evolution.proposal import Proposal, Sample, Take
from harmony_core.evolution.ranking import ranks_and_crowding
from harmony_core.evolution.scored import Placement, Scored
from harmony_core.evolution.select_and_breed import SelectAndBreed, SelectAndBreedConfig
from harmony_core.search.objective import Objective
from harmony_core.space import Encoding, Space

Picks = Literal["bayesian", "random"]
# Spaces, and steps of one, of up to so many designs are looked at whole.
ENUMERABLE = 1024


class EngineConfig(SelectAndBreedConfig):
    """How an engine picks; nobody breeds.

    Args:
        kind: the algorithm.
        survivors: how many a selection keeps. None is the population size.
        crossover_probability: of no effect; there so that the settings of another algorithm can be searched by it.
        tournament_size: of no effect, likewise.
        picks: `bayesian` takes the open design of the largest qLogNEI by a Gaussian process on all that ended well
            (needs the extra `bo`); `random` any, each as likely.
        start: candidates that must have ended well before `bayesian` fits anything; until then it picks at random.
    """

    picks: Picks = "random"
    start: int = Field(default=4, ge=2, le=bounds.POPULATION)

    def check_space(self, space: Space, population: int) -> None:
        """As `AlgorithmConfig.check_space`; refuses `bayesian` without BoTorch."""
        if self.picks == "bayesian":
            require_botorch("search.algorithm.picks")


@dataclass(frozen=True)
class Open:
    """What may be trained next.

    Args:
        designs: architectures of the space, known ones among them.
        told: where they come from, for people.
        parents: ids of what they go on from.
        room: how many of them this generation may have; None is any number.
    """

    designs: Sequence[Architecture] = ()
    told: str = ""
    parents: tuple[str, ...] = ()
    room: int | None = None


class Engine(SelectAndBreed):
    """Proposes architectures of its own making, each once; survivors are the best by rank and crowding.

    Args:
        settings: the engine's configuration.
        objectives: what is minimised. Of several, their standardised mean is (`merits`).
        population: candidates a generation.
    """

    settings: EngineConfig

    def __init__(self, settings: EngineConfig, objectives: Sequence[Objective], population: int) -> None:
        super().__init__(settings, objectives, population)
        self.population = population
        # What this generation has been given so far; the context does not know of it yet.
        self._proposed: dict[str, Architecture] = {}
        # What follows from the context alone is made once for all candidates that are bred from it.
        self._context: Context | None = None
        self._open = Open()
        self._by_id: dict[str, Architecture] = {}
        self._surrogate: Surrogate | None = None

    @abstractmethod
    def open(self, context: Context, rng: np.random.Generator) -> Open:
        """What is open by the history; nothing where the engine has ended, or waits for results.

        Asked for once a context, with the generator of the first candidate that is bred from it.
        """

    def grade(self, scored: Sequence[Scored]) -> list[tuple[int, float | None, float | None]]:
        """As `SelectAndBreed.grade`."""
        return [(rank, crowding, None) for rank, crowding in ranks_and_crowding(scored, self.objectives)]

    def tell(self, scored: Sequence[Scored]) -> list[Placement]:
        """As `Algorithm.tell`."""
        self._proposed.clear()
        self._context = None
        return super().tell(scored)

    def ask(self, context: Context, rng: np.random.Generator) -> Proposal:
        """As `Algorithm.ask`: one of the open designs, or a sample where none is."""
        if context is not self._context:
            self._open, self._surrogate = self.open(context, rng), None
            self._by_id = {one.id: one for one in self._open.designs}
            self._context = context
        found, known = self._open, {**context.trials, **self._proposed}
        new = [one for architecture_id, one in self._by_id.items() if architecture_id not in known]
        if not new or (found.room is not None and len(self._proposed) >= found.room):
            return Sample()
        number, how = self._pick(context, new, rng)
        self._proposed[new[number].id] = new[number]
        return Take(new[number], f"{found.told}: {how} of {len(new)}", found.parents)

    def fitted(self, context: Context) -> dict[str, float]:
        """The merits that a model is fitted to, by architecture id; none while it picks at random."""
        known = merits(context.history, self.objectives) if self.settings.picks == "bayesian" else {}
        return known if len(known) >= self.settings.start else {}

    def _pick(self, context: Context, new: Sequence[Architecture], rng: np.random.Generator) -> tuple[int, str]:
        known = self.fitted(context)
        if not known:
            return int(rng.integers(len(new))), "any"
        encoding = Encoding(context.space)

        def features(architectures: Iterable[Architecture]) -> NDArray[np.float64]:
            return np.array([encoding.vector(one) for one in architectures]).reshape(-1, len(encoding))

        if self._surrogate is None:
            seen, merits_N = map(context.architecture, known), np.array(list(known.values()))
            self._surrogate = Surrogate(features(seen), merits_N, features(self._open.designs), _seed(rng))
        pending = features(self._proposed.values())
        return self._surrogate.best(features(new), pending, _seed(rng)), "the best by qLogNEI"


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
