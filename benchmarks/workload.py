"""How long the candidates of a search take, and how long they were expected to: what is fed and what is simulated."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """Lognormal durations, and predictions that are off by a lognormal factor.

    Args:
        generations: of the search.
        candidates: of a generation.
        median_seconds: of a candidate.
        sigma: standard deviation of a duration's logarithm.
        error: standard deviation of the logarithm of prediction over duration; 0.3 is about 30%.
        limit_seconds: a candidate's own limit, at which it is ended.
        seed: of durations and errors.
    """

    generations: int = 8
    candidates: int = 192
    median_seconds: float = 0.5
    sigma: float = 1.0
    error: float = 0.3
    limit_seconds: float = float("inf")
    seed: int = 0

    def generation(self, index: int) -> tuple[list[float], list[float]]:
        """Durations and expectations of a generation's candidates."""
        rng = np.random.default_rng([self.seed, index])
        durations = self.median_seconds * np.exp(self.sigma * rng.standard_normal(self.candidates))
        durations = np.minimum(durations, self.limit_seconds)
        expectations = durations * np.exp(self.error * rng.standard_normal(self.candidates))
        return durations.tolist(), expectations.tolist()
