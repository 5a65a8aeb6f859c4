"""What is told of the replays: regret by engine and budget with a paired test, and how often aggregators hit."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.composer_engines.replay import (
    AGGREGATORS,
    ENGINES,
    ONE_SHOT,
    RANDOM,
    Draw,
    aggregated,
    chosen,
    draw,
    kept,
    replay_all,
)
from benchmarks.composer_engines.table import Losses
from harmony_core.architecture import Architecture
from harmony_core.scaling.aggregate import CLUSTERS

BUDGETS, TOP, HITS = (8, 16), 3, 20
# Numbers of the draws that the promises are judged by, and of further ones that share no chance with them. How many
# those are, and that they end at the promise's budget, was settled by their cost (1.8 core-seconds each) before any was
# looked at.
DRAWS, FRESH_DRAWS, FRESH_BUDGETS = range(30), range(30, 180), BUDGETS[:1]
RESAMPLES = 10_000


def judge(table: Losses, designs: Mapping[str, Architecture], draws: Sequence[int] = DRAWS) -> dict[str, Any]:
    """All figures of the table.

    Args:
        table: losses by design, one a seed.
        designs: the architectures, by name.
        draws: numbers of the replays of every engine.
    """
    worlds = [draw(table, number) for number in draws]
    tried = replay_all(worlds, designs, max(BUDGETS))
    return {
        "designs": len(table),
        "draws": len(draws),
        "seeds_agree": seeds_agree(table),
        "best_by_all_seeds": sorted(table, key=lambda one: (statistics.fmean(table[one]), one))[:TOP],
        "regret": regrets(worlds, tried, BUDGETS),
        "aggregators": {
            f"{name} of {where}": hits(worlds, sets, designs, context)
            for name, context in AGGREGATORS.items()
            for where, sets in (
                (f"{max(BUDGETS)} one-shot trials", tried[ONE_SHOT]),
                ("all designs of the greatest depth", [[*table]] * len(draws)),
            )
        },
    }


def judge_fresh(table: Losses, designs: Mapping[str, Architecture], journal: Path, is_over: bool) -> dict[str, Any]:
    """Regrets alone, of the fresh draws.

    Args:
        table: losses by design, one a seed.
        designs: the architectures, by name.
        journal: as for `replay_all`.
        is_over: whether only those that the journal holds count, and none is replayed.
    """
    worlds = [draw(table, number) for number in FRESH_DRAWS]
    if is_over:
        done = kept(journal)
        worlds = [one for one in worlds if one.digest in done]
    tried = replay_all(worlds, designs, max(FRESH_BUDGETS), journal)
    return {"draws": len(worlds), "of": len(FRESH_DRAWS), "regret": regrets(worlds, tried, FRESH_BUDGETS)}


def regrets(
    worlds: Sequence[Draw], tried: Mapping[str, Sequence[Sequence[str]]], budgets: Sequence[int]
) -> dict[str, dict[str, dict[str, float]]]:
    """By budget and engine what is told of the regrets.

    Args:
        worlds: the draws.
        tried: by engine the designs that it tried in each.
        budgets: numbers of trials.
    """
    return {
        str(budget): compared(
            {
                name: [one.regret(chosen(of[:budget], one)) for one, of in zip(worlds, tried[name], strict=True)]
                for name in ENGINES
            }
        )
        for budget in budgets
    }


def compared(regrets: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """By engine: median and quartiles of the regret; over the draws the paired test and the difference from random."""
    return {
        name: {
            "median": float(np.median(of)),
            "lower_quartile": float(np.quantile(of, 0.25)),
            "upper_quartile": float(np.quantile(of, 0.75)),
            "p_against_random": paired(of, regrets[RANDOM]),
            **difference(of, regrets[RANDOM]),
        }
        for name, of in regrets.items()
    }


def difference(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """The mean difference over pairs, in bits per byte, and its 95% interval by percentile bootstrap over draws."""
    differences_N = np.subtract(first, second)
    drawn_RN = np.random.default_rng(0).choice(differences_N, size=(RESAMPLES, len(differences_N)))
    low, high = np.quantile(drawn_RN.mean(1), (0.025, 0.975))
    return {"mean_less_random": float(differences_N.mean()), "low": float(low), "high": float(high)}


def paired(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; pairs that are equal count as Pratt has it."""
    if np.array_equal(first, second):
        return 1.0
    return float(stats.wilcoxon(first, second, zero_method="pratt").pvalue)


def hits(
    worlds: Sequence[Draw], tried: Sequence[Sequence[str]], designs: Mapping[str, Architecture], context: int | None
) -> dict[str, float]:
    """In how many draws the aggregator's design is among the truly best three, and its median regret.

    Args:
        worlds: the draws.
        tried: the designs that are aggregated in each.
        designs: the architectures, by name.
        context: of the aggregator.
    """
    made = [aggregated(of, one, designs, context, CLUSTERS) for one, of in zip(worlds, tried, strict=True)]
    found = sum(design in one.best(TOP) for one, design in zip(worlds, made, strict=True))
    regrets = [one.regret(design) for one, design in zip(worlds, made, strict=True)]
    return {"among_best_three": found, "median_regret": float(np.median(regrets))}


def seeds_agree(table: Losses) -> dict[str, float]:
    """Mean Spearman correlation of two seeds over the designs of the greatest depth, and their spread and noise."""
    depth = max(map(len, table))
    losses_NS = np.array([table[one] for one in sorted(table) if len(one) == depth])
    pairs = [(a, b) for a in range(losses_NS.shape[1]) for b in range(a)]
    found = [float(stats.spearmanr(losses_NS[:, a], losses_NS[:, b]).statistic) for a, b in pairs]
    return {
        "spearman": statistics.fmean(found),
        "spread_of_designs": float(losses_NS.mean(1).std(ddof=1)),
        "spread_of_seeds": float(np.sqrt(losses_NS.var(1, ddof=1).mean())),
    }


def promises(found: Mapping[str, Any]) -> dict[str, bool]:
    """Whether each promise is."""
    first = found["regret"][str(BUDGETS[0])]
    return {
        "one_shot_below_random": first[ONE_SHOT]["median"] < first[RANDOM]["median"],
        "n0_among_best_three": found["aggregators"][f"n0 of {max(BUDGETS)} one-shot trials"]["among_best_three"]
        >= HITS,
    }
