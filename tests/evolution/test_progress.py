"""On a problem with a known front, selection must pay: ZDT1 (Zitzler et al. 2000) in 8 variables."""

import statistics

import numpy as np
import polars as pl
import pytest

from harmony_core.evolution.context import Context
from harmony_core.evolution.proposal import parents
from harmony_core.evolution.scored import Scored
from harmony_core.results.hypervolume import hypervolume
from harmony_core.search.config import SearchConfig
from harmony_core.search.frame import Frame
from harmony_core.search.objective import Objective
from harmony_core.space import Space

NAMES = ["val_bits_per_byte", "latency_seconds"]
FRAME = Frame(ideal=dict.fromkeys(NAMES, 0.0), reference={NAMES[0]: 1.1, NAMES[1]: 6.0})
POPULATION, GENERATIONS, VARIABLES = 16, 20, 8
CONTEXT = Context(Space.from_yaml("composer"), 256)


def zdt1(genome: np.ndarray) -> tuple[float, float]:
    g = 1 + 9 * genome[1:].mean()
    return float(genome[0]), float(g * (1 - np.sqrt(genome[0] / g)))


def vary(known: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    if not known:
        return rng.random(VARIABLES)
    if len(known) == 2:
        return np.where(rng.random(VARIABLES) < 0.5, *known)
    child = known[0].copy()
    child[rng.integers(VARIABLES)] = rng.random()
    return child


def run(kind: str, seed: int) -> float:
    """Hypervolume of everything that an algorithm evaluated."""
    objectives = [Objective(name="val_bits_per_byte"), Objective(name="latency_seconds")]
    if kind == "fitness":
        objectives[1] = Objective(name="latency_seconds", target=0.5, weight=1.0)
    settings = {"kind": kind}
    algorithm = SearchConfig(population=POPULATION, objectives=tuple(objectives), algorithm=settings).make_algorithm()
    genomes: dict[str, np.ndarray] = {}
    seen: list[tuple[float, float]] = []
    kept: list[Scored] = []
    for generation in range(GENERATIONS):
        new = []
        for candidate in range(POPULATION):
            rng = np.random.default_rng(np.random.SeedSequence([seed, 0, generation, candidate]))
            name = f"{generation}-{candidate}"
            genomes[name] = vary([genomes[parent] for parent in parents(algorithm.ask(CONTEXT, rng))], rng)
            values = zdt1(genomes[name])
            seen.append(values)
            new.append(Scored(generation, candidate, name, "ok", dict(zip(NAMES, values, strict=True))))
        merged = [*kept, *new]
        kept = [row for row, standing in zip(merged, algorithm.tell(merged), strict=True) if standing.survives]
    return hypervolume(pl.DataFrame(seen, schema=NAMES, orient="row"), NAMES, FRAME)


@pytest.mark.parametrize("kind", ["nsga2", "regularized_evolution", "fitness"])
def test_every_algorithm_beats_random_search(kind: str) -> None:
    seeds = range(5)
    assert min(run(kind, seed) for seed in seeds) > max(run("random", seed) for seed in seeds)


def test_nsga2_comes_near_the_true_front() -> None:
    first = np.linspace(0, 1, 500)
    front = pl.DataFrame({NAMES[0]: first, NAMES[1]: 1 - np.sqrt(first)})
    shares = [run("nsga2", seed) / hypervolume(front, NAMES, FRAME) for seed in range(9)]
    # Within 320 evaluations random search reaches two thirds of it.
    assert statistics.median(shares) > 0.88
