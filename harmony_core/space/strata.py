"""Where in the prior a sample lies, so that a generation of samples covers every marginal of it evenly."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stratum:
    """A quantile, from 0 to below 1, of each marginal.

    Args:
        depth: shallow to deep.
        size: few parameters to many, on a logarithmic scale between the budget's bounds.
        experts: without mixtures of experts, then with ever more of them.
        variety: one kind of token mixer, then two, then any number.
        mixer: the kind of token mixer that is there for certain.
    """

    depth: float
    size: float
    experts: float
    variety: float
    mixer: float


def draw_stratum(rng: np.random.Generator) -> Stratum:
    """Any place, each as likely."""
    return Stratum(*(float(quantile) for quantile in rng.random(len(dataclasses.fields(Stratum)))))


def draw_strata(count: int, rng: np.random.Generator) -> list[Stratum]:
    """A Latin hypercube: of each marginal, every one of `count` equal parts has one stratum."""
    columns = [(rng.permutation(count) + rng.random(count)) / count for _ in dataclasses.fields(Stratum)]
    return [Stratum(*(float(quantile) for quantile in row)) for row in zip(*columns, strict=True)]
