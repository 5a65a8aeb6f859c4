"""Random search: the baseline that every other algorithm has to beat."""

from __future__ import annotations

import numpy as np

from harmony_core.evolution.nsga2 import NSGA2


class RandomSearch(NSGA2):
    """Keeps the best by rank and crowding, and breeds nothing: every candidate is a sample."""

    def ask(self, rng: np.random.Generator) -> tuple[str, ...]:
        """As `Algorithm.ask`: never a parent."""
        return ()
