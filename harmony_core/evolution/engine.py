"""What Composer's engines share (arXiv:2510.00379): designs that are open, of which one is picked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harmony_core import bounds
from harmony_core.architecture import Architecture
from harmony_core.evolution.bayesian import most_promising, require_botorch
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
    """

    designs: Sequence[Architecture] = ()
    told: str = ""
    parents: tuple[str, ...] = ()


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
        # What this generation has been given so far; the context does not know of it yet.
        self._proposed: dict[str, Architecture] = {}

    @abstractmethod
    def open(self, context: Context, rng: np.random.Generator) -> Open:
        """What is open by the history; nothing where the engine has ended, or waits for results."""

    def grade(self, scored: Sequence[Scored]) -> list[tuple[int, float | None, float | None]]:
        """As `SelectAndBreed.grade`."""
        return [(rank, crowding, None) for rank, crowding in ranks_and_crowding(scored, self.objectives)]

    def tell(self, scored: Sequence[Scored]) -> list[Placement]:
        """As `Algorithm.tell`."""
        self._proposed.clear()
        return super().tell(scored)

    def ask(self, context: Context, rng: np.random.Generator) -> Proposal:
        """As `Algorithm.ask`: one of the open designs, or a sample where none is."""
        found = self.open(context, rng)
        new = [one for one in found.designs if one.id not in context.trials and one.id not in self._proposed]
        if not new:
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

        def features(architectures: Sequence[Architecture]) -> NDArray[np.float64]:
            return np.array([encoding.vector(one) for one in architectures]).reshape(-1, len(encoding))

        seen = features([context.architecture(one) for one in known])
        pending = features(list(self._proposed.values()))
        seed = int(rng.integers(2**31))
        return most_promising(seen, np.array(list(known.values())), features(new), pending, seed), "the best by qLogNEI"
