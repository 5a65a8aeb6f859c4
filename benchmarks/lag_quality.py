"""What `lag: 1` costs in search quality, at equal evaluations, on a problem whose front is known.

Breeding and selection are the real ones, through a search's files, on architectures of space nano; what a training and
a measurement would find is a formula: `search_quality.problems.ZDT1`.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from benchmarks.made_up import prepare, result
from benchmarks.search_quality.genes import VOCAB_SIZE
from benchmarks.search_quality.problems import OBJECTIVES, ZDT1, Problem
from harmony_core.architecture import Architecture
from harmony_core.evolution.generation import mutate_generation, select_generation
from harmony_core.search.config import Config
from harmony_core.space import Space
from harmony_core.store import LATENCY, POPULATION, TRAINING, SearchFolder, read_table, write_table

SEEDS, GENERATIONS, POPULATION_SIZE = range(15), 12, 48
SEARCHES = (("nsga2", 0), ("nsga2", 1), ("regularized_evolution", 0), ("regularized_evolution", 1), ("random", 0))
# Of the known front's hypervolume: how long a search needs to be so near.
NEAR = 0.9


def search(problem: Problem, folder: SearchFolder, algorithm: str, lag: int, seed: int) -> list[float]:
    """Runs a search; the hypervolume after each generation."""
    settings = {
        "name": folder.name,
        "seed": seed,
        "lag": lag,
        "generations": GENERATIONS,
        "population": POPULATION_SIZE,
        "objectives": [{"name": name} for name in OBJECTIVES],
        "algorithm": {"kind": algorithm},
    }
    prepare(folder, Config.parse({"search": settings, "space": "nano"}), VOCAB_SIZE, problem.frame)
    volumes = []
    # In the order of a lagged search: a generation is bred before the one in front of it is selected.
    for generation in range(GENERATIONS + lag):
        if generation < GENERATIONS:
            mutate_generation(folder, generation)
            measure(problem, folder, generation)
        if generation >= lag:
            volumes.append(select_generation(folder, generation - lag).hypervolume)
    return volumes


def measure(problem: Problem, folder: SearchFolder, generation: int) -> None:
    """Writes what a generation's trainings and measurements would have, by the formula."""
    training, latency = [], []
    for row in read_table(folder.population(generation), POPULATION).iter_rows(named=True):
        bits, seconds = problem.values(Architecture.from_json(row["architecture"]))
        training.append(result(TRAINING, row, status="ok", val_bits_per_byte=bits))
        latency.append(result(LATENCY, row, mode="prefill", latency_seconds=seconds))
    write_table(folder.shard(generation, "training", 0), training, TRAINING)
    write_table(folder.shard(generation, "latency", 0), latency, LATENCY)


def summary(runs: Iterable[list[float]], best: float) -> dict[str, Any]:
    """Of the searches of all seeds: shares of the known hypervolume, and generations until near it."""
    shares = [[volume / best for volume in volumes] for volumes in runs]
    needed = [next((g + 1 for g, share in enumerate(one) if share >= NEAR), math.inf) for one in shares]
    middle = statistics.median(needed)
    low, median, high = statistics.quantiles([one[-1] for one in shares], n=4)
    return {
        "final_share": {"median": median, "quartiles": [low, high]},
        "median_share_by_generation": [statistics.median(column) for column in zip(*shares, strict=True)],
        "generations_needed": middle if math.isfinite(middle) else None,
        "never_near": sum(math.isinf(one) for one in needed),
    }


def main() -> int:
    problem = ZDT1(Space.read("nano"))
    best = problem.known
    results = {}
    for algorithm, lag in SEARCHES:
        runs = []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as scratch:
                runs.append(search(problem, SearchFolder(Path(scratch) / "results" / "zdt1"), algorithm, lag, seed))
        results[f"{algorithm}_lag_{lag}"] = found = summary(runs, best)
        low, high = found["final_share"]["quartiles"]
        print(
            f"{algorithm}, lag {lag}: {found['final_share']['median']:.1%} of the known hypervolume "
            f"({low:.1%} to {high:.1%}), {NEAR:.0%} after {found['generations_needed'] or 'more'} generations",
            flush=True,
        )
    evaluations = {"generations": GENERATIONS, "population": POPULATION_SIZE, "seeds": len(SEEDS), "near": NEAR}
    write_result("lag_quality", {**evaluations, "known_hypervolume": best, "searches": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
