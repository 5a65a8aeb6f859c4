"""What `lag: 1` costs in search quality, at equal evaluations, on a problem whose front is known.

Breeding and selection are the real ones, on architectures of space nano; what a training and a measurement would find
is a formula: ZDT1 (Zitzler, Deb and Thiele 2000) with the share of attention layers as its first objective, and as its
distance from the front the share of choices that are not the ones decreed to be good.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.common import write_result
from benchmarks.made_up import prepare, result
from harmony_core.architecture import Architecture
from harmony_core.architecture.block import Block
from harmony_core.config import Config
from harmony_core.evolution.generation import mutate_generation, select_generation
from harmony_core.evolution.hypervolume import hypervolume
from harmony_core.space import Space, sample
from harmony_core.store import LATENCY, POPULATION, TRAINING, SearchFolder, read_table, write_table

SEEDS, GENERATIONS, POPULATION_SIZE = range(15), 30, 48
SEARCHES = (("nsga2", 0), ("nsga2", 1), ("regularized_evolution", 0), ("regularized_evolution", 1), ("random", 0))
VOCAB_SIZE = 257
OBJECTIVES = ("val_bits_per_byte", "latency_seconds")
FRAME = {
    "ideal": dict(zip(OBJECTIVES, (1.0, 0.0), strict=True)),
    "reference": dict(zip(OBJECTIVES, (5.0, 1.1), strict=True)),
}
# Of the known front's hypervolume: how long a search needs to be so near.
NEAR = 0.9
WORST_DISTANCE = 9.0

# A block is as far from good as the share of these that it does not have.
GOOD: dict[str, dict[str, Any]] = {
    "mha": {"head_dim": 32, "qk_norm": True},
    "mqa": {"head_dim": 32, "qk_norm": True},
    "gqa": {"head_dim": 32, "qk_norm": True},
    "swa": {"head_dim": 32, "qk_norm": True, "window": 64},
    "mla": {"qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32},
    "mamba2": {"head_dim": 32, "d_conv": 4, "n_groups": 1},
    "mlp": {"activation": "gelu"},
    "moe": {"top_k": 2, "n_shared": 1, "balancing": "bias", "normalize_top_k": True},
}


def flaws(block: Block) -> float:
    """Share of a block's decreed choices that are others."""
    good = GOOD[block.kind]
    return sum(bool(getattr(block, name) != value) for name, value in good.items()) / len(good)


def attention_share(architecture: Architecture) -> float:
    """Share of the layers whose mixer is attention."""
    mixers = architecture.blocks[::2]
    return sum(block.kind != "mamba2" for block in mixers) / len(mixers)


def objectives(architecture: Architecture) -> tuple[float, float]:
    """Bits per byte and latency, as decreed."""
    share = attention_share(architecture)
    distance = 1.0 + WORST_DISTANCE * statistics.mean(flaws(block) for block in architecture.blocks)
    return 1.0 + distance * (1.0 - math.sqrt(share / distance)), share


def known_front(space: Space) -> pl.DataFrame:
    """The best there is: every share of attention layers that a depth allows, without a flaw.

    Each point is shown to be in the space by an architecture that has it.
    """
    wanted = {
        attention / depth: (attention, depth)
        for depth in range(space.depth.min, space.depth.max + 1)
        for attention in range(depth + 1)
    }
    points = []
    for share, (attention, depth) in sorted(wanted.items()):
        found = objectives(flawless(space, attention, depth))
        assert found == (2.0 - math.sqrt(share), share)
        points.append(found)
    return pl.DataFrame(points, schema=list(OBJECTIVES), orient="row")


def flawless(space: Space, attention: int, depth: int) -> Architecture:
    """An architecture of the space without a flaw, with that many attention layers; put together from samples."""
    rng = np.random.default_rng([attention, depth])
    while True:
        width = sample(space, VOCAB_SIZE, rng).architecture.d_model
        blocks = []
        for layer in range(depth):
            blocks += [good_block(space, width, rng, layer < attention), good_block(space, width, rng, None)]
        built = Architecture(d_model=width, vocab_size=VOCAB_SIZE, blocks=tuple(blocks))
        if not space.violations(built):
            return built


def good_block(space: Space, width: int, rng: np.random.Generator, attention: bool | None) -> Block:
    """A flawless block that the space offers at this width: a mixer with or without attention, or a channel mixer."""
    while True:
        architecture = sample(space, VOCAB_SIZE, rng).architecture
        for block in architecture.blocks if architecture.d_model == width else ():
            is_attention = None if block.role == "channel" else block.kind != "mamba2"
            if flaws(block) == 0 and is_attention == attention:
                return block


def search(folder: SearchFolder, algorithm: str, lag: int, seed: int) -> list[float]:
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
    prepare(folder, Config.parse({"search": settings, "space": "nano"}), VOCAB_SIZE, FRAME)
    volumes = []
    # In the order of a lagged search: a generation is bred before the one in front of it is selected.
    for generation in range(GENERATIONS + lag):
        if generation < GENERATIONS:
            mutate_generation(folder, generation)
            measure(folder, generation)
        if generation >= lag:
            volumes.append(select_generation(folder, generation - lag).hypervolume)
    return volumes


def measure(folder: SearchFolder, generation: int) -> None:
    """Writes what a generation's trainings and measurements would have, by the formula."""
    training, latency = [], []
    for row in read_table(folder.population(generation), POPULATION).iter_rows(named=True):
        bits, seconds = objectives(Architecture.from_json(row["architecture"]))
        training.append(result(TRAINING, row, status="ok", val_bits_per_byte=bits))
        latency.append(result(LATENCY, row, mode="prefill", seconds_median=seconds))
    write_table(folder.training(generation, 0), training, TRAINING)
    write_table(folder.latency(generation, 0), latency, LATENCY)


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
    best = hypervolume(known_front(Space.read("nano")), OBJECTIVES, FRAME)
    results = {}
    for algorithm, lag in SEARCHES:
        runs = []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as scratch:
                runs.append(search(SearchFolder(Path(scratch) / "results" / "zdt1"), algorithm, lag, seed))
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
