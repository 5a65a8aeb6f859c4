"""Makes the candidates of a generation, each new to the search, and counts what it threw away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.errors import UserError
from harmony_core.evolution.algorithm import Algorithm
from harmony_core.evolution.context import Context
from harmony_core.evolution.proposal import Cross, Mutate, Proposal, Sample, Take, parents
from harmony_core.space import (
    DeadEnd,
    Ledger,
    SpaceExhausted,
    Stratum,
    Variation,
    crossover,
    draw_strata,
    mutate,
    propose,
    sample,
)

_ORIGINS = {Sample: "sample", Mutate: "mutation", Cross: "crossover", Take: "proposal"}
EXHAUSTED = "space exhausted"
# A stratum that has given so many architectures of the history counts as used up; the rest of the space need not be.
_STRATUM_DRAWS = 20
_STRATA = 5
# An algorithm may take long to think: after so many proposals that were nothing new it gets a sample.
_TAKES = 10


@dataclass(frozen=True)
class Offspring:
    """A new candidate and where it comes from; the fields are columns of the population."""

    architecture: Architecture
    origin: str
    operator: str
    parents: tuple[str, ...] = ()
    name: str | None = None


def generation_strata(seed: int, generation: int, count: int) -> list[Stratum]:
    """Where in the prior each of a generation's candidates is drawn, should it be a sample: evenly over all of it.

    Args:
        seed: the search's.
        generation: its number.
        count: candidates.
    """
    return draw_strata(count, np.random.default_rng(np.random.SeedSequence([seed, _STRATA, generation])))


class Breeder:
    """Draws children, one generator of random numbers each, until the space has no more.

    Args:
        context: the space, and what the search has recorded.
        algorithm: says how each is to be made.
    """

    def __init__(self, context: Context, algorithm: Algorithm) -> None:
        self.context, self.algorithm = context, algorithm
        self.space, self.vocab_size = context.space, context.vocab_size
        # Ids of all candidates of the search; each child adds its own.
        self.history = set(context.trials)
        self.ledger = Ledger()

    def preset(self, name: str) -> Offspring | None:
        """A preset over this vocabulary, or None (and a line in the ledger) if it is there already.

        Raises:
            UserError: unknown preset, or one that the space does not hold: it could not breed.
        """
        architecture = with_vocab(load_preset(name), self.vocab_size)
        broken = self.space.violations(architecture)
        if broken:
            fix = f"not in the space ({broken[0]}); widen the space or take it out"
            raise UserError("search.initial", name, fix)
        if architecture.id in self.history:
            self.ledger.add("preset", "duplicate")
            return None
        self.history.add(architecture.id)
        return Offspring(architecture, "preset", "preset", name=Path(name).stem)

    def child(self, rng: np.random.Generator, stratum: Stratum | None = None) -> Offspring:
        """A child as the algorithm proposes it, or a sample where that comes to nothing new.

        Args:
            rng: the child's own source of chance.
            stratum: where in the prior a sample is drawn first; None is anywhere.

        Raises:
            SpaceExhausted: nothing new was found, by breeding or by sampling.
        """
        try:
            child = self._propose(rng, stratum, breeds=True)
        except SpaceExhausted:
            # The neighbourhood of the parents is used up; the rest of the space need not be.
            child = self._propose(rng, stratum, breeds=False)
        self.history.add(child.architecture.id)
        return child

    def _propose(self, rng: np.random.Generator, stratum: Stratum | None, breeds: bool) -> Offspring:
        drawn: list[tuple[Variation, Proposal]] = []
        draws = taken = 0

        def make() -> Variation:
            nonlocal draws, taken
            draws += 1
            proposal = self.algorithm.ask(self.context, rng) if breeds and taken < _TAKES else Sample()
            taken += isinstance(proposal, Take)
            variation = self._vary(proposal, rng, stratum if draws <= _STRATUM_DRAWS else None)
            drawn[:] = [(variation, proposal)]
            return variation

        variation = propose(make, self.space, self.history, self.ledger)
        # In the end `propose` looks through a small space itself; no algorithm proposed what it finds there.
        proposal = next((proposal for made, proposal in drawn if made is variation), Sample())
        return Offspring(variation.architecture, _ORIGINS[type(proposal)], variation.operator, parents(proposal))

    def _vary(self, proposal: Proposal, rng: np.random.Generator, stratum: Stratum | None) -> Variation:
        known = self.context.architecture
        match proposal:
            case Mutate(parent):
                return mutate(self.space, known(parent), rng)
            case Cross(first, second):
                return crossover(self.space, known(first), known(second), rng)
            case Take():
                return self._taken(proposal)
        return sample(self.space, self.vocab_size, rng, stratum)

    def _taken(self, proposal: Take) -> Variation:
        """The architecture itself; a dead end where it is not of the space."""
        architecture = proposal.architecture
        reasons = [reason for reason, _ in self.space.constraints.broken(architecture)]
        # One reason stands for all violations: each would be a line of the ledger by itself.
        if self.space.structure_violations(architecture):
            reasons.append("not in the space")
        if architecture.vocab_size != self.vocab_size:
            reasons.append("another vocabulary")
        if reasons:
            raise DeadEnd("take", 1, {("take", reason): 1 for reason in reasons})
        for parent in proposal.parents:
            self.context.architecture(parent)
        return Variation(architecture, proposal.operator)
