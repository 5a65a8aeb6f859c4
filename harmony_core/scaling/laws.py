"""What the points of a sweep say: each curve's minimum, and the exponents of what is compute- and state-optimal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from harmony_core.scaling.isoflop import LEAST_SIZES, Curve, Optimum, Point, optimum
from harmony_core.scaling.power_law import DRAWS, Exponent, bootstrap, exponent

# A law through fewer state sizes says little (Poli et al. 2024, arXiv:2403.17844, section 5.2, has more than four).
LEAST_STATES = 4
COMPUTE = ("params", "tokens", "loss")
STATE = "perplexity of state"
# Of the random numbers (docs/design.md, Seeds).
_PURPOSE = 6


@dataclass(frozen=True)
class Law:
    """Which power law an exponent is of.

    Args:
        of: `params`, `tokens` or `loss`, each at the minimum over the budget; or `STATE`, perplexity over state size.
        within: the architecture; of the state-optimal law the budget.
    """

    of: str
    within: str


@dataclass(frozen=True)
class Findings:
    """What a sweep says.

    Args:
        optima: the minimum of each curve; None where its losses have none.
        exponents: with intervals, of each law that has enough curves.
    """

    optima: Mapping[Curve, Optimum | None]
    exponents: Mapping[Law, Exponent]

    def told(self) -> dict[str, Any]:
        """As JSON; ends of an interval that are infinite are null."""
        minima = [
            {**asdict(curve), "minimum": None if one is None else asdict(one)} for curve, one in self.optima.items()
        ]
        laws = [
            {**asdict(law), **{k: _finite(v) for k, v in asdict(one).items()}, "identified": one.identified}
            for law, one in self.exponents.items()
        ]
        return {"minima": minima, "laws": laws}


def judge(points: Iterable[Point], seed: int, draws: int = DRAWS) -> Findings:
    """Finds the minima and fits the laws; intervals by bootstrap over the runs of each curve.

    Args:
        points: one a run.
        seed: of the bootstrap.
        draws: of it.
    """
    curves: dict[Curve, list[Point]] = defaultdict(list)
    for one in points:
        curves[one.curve].append(one)
    strata = [curves[curve] for curve in sorted(curves, key=lambda curve: (curve.architecture, curve.budget))]
    optima = {stratum[0].curve: optimum(stratum) for stratum in strata}
    sizes = {one[0].curve: (min(p.params for p in one), max(p.params for p in one)) for one in strata}
    rng = np.random.default_rng(np.random.SeedSequence([seed, _PURPOSE]))
    found = bootstrap(strata, partial(_exponents, sizes), rng, draws=draws, usable=_has_sizes)
    return Findings(optima, found)


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _has_sizes(drawn: Sequence[Point]) -> bool:
    return len({one.params for one in drawn}) >= LEAST_SIZES


def _exponents(sizes: Mapping[Curve, tuple[int, int]], strata: Sequence[Sequence[Point]]) -> dict[Law, float | None]:
    optima = {stratum[0].curve: optimum(stratum, sizes[stratum[0].curve]) for stratum in strata}
    by_architecture: dict[str, list[tuple[float, Optimum | None]]] = defaultdict(list)
    by_budget: dict[float, list[Optimum | None]] = defaultdict(list)
    for curve, one in optima.items():
        by_architecture[curve.architecture].append((curve.budget, one))
        by_budget[curve.budget].append(one)
    found: dict[Law, float | None] = {}
    for name, pairs in by_architecture.items():
        for of in COMPUTE:
            found[Law(of, name)] = _over_budgets(pairs, of)
    for budget, minima in by_budget.items():
        if len(minima) >= LEAST_STATES:
            found[Law(STATE, f"{budget:g} FLOPs")] = _over_states(minima)
    return found


def _over_budgets(pairs: Sequence[tuple[float, Optimum | None]], of: str) -> float | None:
    """None where a budget has no minimum between its sizes: a law through the others would say it knows more."""
    known = [(budget, getattr(one, of)) for budget, one in pairs if one is not None and one.bracketed]
    return exponent(*zip(*known, strict=True)) if len(known) == len(pairs) else None


def _over_states(minima: Sequence[Optimum | None]) -> float | None:
    known = [one for one in minima if one is not None and one.bracketed]
    if len(known) < len(minima) or len({round(one.state) for one in known}) < LEAST_STATES:
        return None
    return exponent([one.state for one in known], [math.exp(one.loss) for one in known])
