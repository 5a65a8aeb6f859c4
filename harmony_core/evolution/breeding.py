"""Makes the candidates of a generation, each new to the search, and counts what it threw away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.errors import UserError
from harmony_core.evolution.algorithm import Algorithm
from harmony_core.space import Ledger, Space, SpaceExhausted, Variation, crossover, mutate, propose, sample

_ORIGINS = ("sample", "mutation", "crossover")
EXHAUSTED = "space exhausted"


@dataclass(frozen=True)
class Child:
    """A new candidate and where it comes from; the fields are columns of the population."""

    architecture: Architecture
    origin: str
    operator: str
    parents: tuple[str, ...] = ()
    name: str | None = None


class Breeder:
    """Draws children, one generator of random numbers each, until the space has no more.

    Args:
        space: what children are of.
        vocab_size: the tokenizer's.
        algorithm: says who the parents are.
        architectures: by id, of everyone that the algorithm may ask for.
        history: ids that the search has had; grows with every child.
    """

    def __init__(
        self,
        space: Space,
        vocab_size: int,
        algorithm: Algorithm,
        architectures: Mapping[str, Architecture],
        history: set[str],
    ) -> None:
        self.space, self.vocab_size, self.algorithm = space, vocab_size, algorithm
        self.architectures, self.history = architectures, history
        self.ledger = Ledger()

    def preset(self, name: str) -> Child | None:
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
        return Child(architecture, "preset", "preset", name=Path(name).stem)

    def child(self, rng: np.random.Generator) -> Child:
        """A child of parents that the algorithm asks for, or a sample where it asks for none.

        Raises:
            SpaceExhausted: nothing new was found, by breeding or by sampling.
        """
        try:
            child = self._propose(rng, breeds=True)
        except SpaceExhausted:
            # The neighbourhood of the parents is used up, which need not be the whole space.
            child = self._propose(rng, breeds=False)
        self.history.add(child.architecture.id)
        return child

    def _propose(self, rng: np.random.Generator, breeds: bool) -> Child:
        drawn: list[tuple[Variation, tuple[str, ...]]] = []

        def make() -> Variation:
            parents = self.algorithm.ask(rng) if breeds else ()
            variation = self._vary(parents, rng)
            drawn[:] = [(variation, parents)]
            return variation

        variation = propose(make, self.space, self.history, self.ledger)
        # `propose` looks through a small space itself in the end; what it finds there has no parents.
        parents = next((parents for made, parents in drawn if made is variation), ())
        return Child(variation.architecture, _ORIGINS[len(parents)], variation.operator, parents)

    def _vary(self, parents: tuple[str, ...], rng: np.random.Generator) -> Variation:
        known = [self.architectures[parent] for parent in parents]
        if len(known) == 2:
            return crossover(self.space, known[0], known[1], rng)
        if known:
            return mutate(self.space, known[0], rng)
        return sample(self.space, self.vocab_size, rng)
