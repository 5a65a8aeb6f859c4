"""Whether twelve architectures that are ranked small are ranked alike when they are grown.

A stratified sample of the demo's space, each brought by width to one size, and grown as promotion grows: stacked to
twice its blocks, then widened to four times the parameters. Both sizes have the demo's recipe, whose parametrisation
and rate the pilot chose; the large one reads more text. Small ones are trained on two seeds, whose own agreement says
how much of a low correlation is noise. What is done stays done: the same command goes on from its journal; `--plan`
prints the cost, `--judge` tells what the journal holds.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, write_result
from benchmarks.trainings import SECONDS_A_TRAINING, Row, Training, held, run_trainings
from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.data import prepare
from harmony_core.errors import UserError
from harmony_core.scaling.growth import WIDTH, Growth
from harmony_core.scaling.rank import rank_correlation
from harmony_core.search.config import Config
from harmony_core.space import Space, draw_strata, sample
from harmony_core.training.recipe import Recipe
from harmony_core.workers.pool import WarmPool
from harmony_core.workers.task import WorkInterrupted

JOURNAL = RESULTS / "small_to_large.jsonl"
COUNT, DRAWN, SAMPLE_SEED, VOCABULARY = 12, 16, 2029, 257
WAY, SMALL, LARGE = "stack", 750_000, 3_000_000
SMALL_TOKENS, LARGE_TOKENS = 196_608, 262_144
SMALL_SEEDS, LARGE_SEEDS = (0, 1), (0,)
# Fewer have no rank to speak of.
LEAST = 3


@functools.cache
def grown() -> dict[str, tuple[Architecture, Architecture]]:
    """Small and large by label: of the sample the first twelve that have both sizes."""
    rng, space = np.random.default_rng(SAMPLE_SEED), Space.read("nano")
    found: dict[str, tuple[Architecture, Architecture]] = {}
    for number, stratum in enumerate(draw_strata(DRAWN, rng)):
        one = sample(space, VOCABULARY, rng, stratum).architecture
        large = Growth(by=WAY, params=LARGE, blocks=2 * len(one.blocks))
        try:
            found[f"sample{number:02d}"] = Growth(by=WIDTH, params=SMALL).grow(one), large.grow(one)
        except UserError:
            # It has no such width; another takes its place.
            continue
    return dict(list(found.items())[:COUNT])


def recipe(tokens: int) -> Recipe:
    """The demo's in fp32, for every CPU alike."""
    demo = Config.from_yaml(ROOT / "config" / "nano.yaml").recipe
    return Recipe.parse({**demo.model_dump(), "tokens": tokens, "precision": "fp32"})


def trainings() -> list[Training]:
    """The small ones a seed after the other, then the large ones."""
    parts = [("small", 0, seed, SMALL_TOKENS) for seed in SMALL_SEEDS]
    parts += [("large", 1, seed, LARGE_TOKENS) for seed in LARGE_SEEDS]
    return [
        Training(f"{size}.{seed}.{label}", pair[index], recipe(tokens), seed, {"label": label, "size": size})
        for size, index, seed, tokens in parts
        for label, pair in grown().items()
    ]


def seconds(one: Training) -> float:
    """About what a training takes on one core, by FLOPs beside the demo's."""
    length = one.recipe.sequence_length
    of_demo = load_preset("llama-nano").flops_per_token(length, "train") * SMALL_TOKENS
    return one.architecture.flops_per_token(length, "train") * one.recipe.tokens / of_demo * SECONDS_A_TRAINING


def plan() -> str:
    """What it costs, in a line."""
    found = trainings()
    minutes = {size: sum(map(seconds, of)) / 60 for size, of in _by_size(found).items()}
    parts = ", ".join(f"{size} {minutes[size]:.0f} core-minutes" for size in minutes)
    return (
        f"{len(found)} trainings of {COUNT} architectures: {parts}, {sum(minutes.values()) / 60:.1f} core-hours in all"
    )


def _by_size(found: Iterable[Training]) -> dict[str, list[Training]]:
    sizes: dict[str, list[Training]] = {"small": [], "large": []}
    for one in found:
        sizes[one.labels["size"]].append(one)
    return sizes


def judge(rows: Sequence[Row]) -> dict[str, Any]:
    """Rank correlations of validation bits per byte, over the architectures that have both.

    Args:
        rows: those that are done.
    """
    bits: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        if row["val_bits_per_byte"] is not None:
            size, seed, label = row["key"].split(".")
            bits.setdefault((size, int(seed)), {})[label] = row["val_bits_per_byte"]
    small = _mean([bits.get(("small", seed), {}) for seed in SMALL_SEEDS])
    large = _mean([bits.get(("large", seed), {}) for seed in LARGE_SEEDS])
    return {
        "small_to_large": _correlation(small, large),
        "one_small_seed_to_large": _correlation(bits.get(("small", SMALL_SEEDS[0]), {}), large),
        "two_small_seeds": _correlation(*(bits.get(("small", seed), {}) for seed in SMALL_SEEDS)),
        "bits_per_byte": {label: {"small": small[label], "large": large[label]} for label in small if label in large},
        "failed": [row["key"] for row in rows if row["val_bits_per_byte"] is None],
    }


def _mean(seeds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of the architectures that all seeds have."""
    common = set.intersection(*(set(one) for one in seeds))
    return {label: statistics.fmean(one[label] for one in seeds) for label in sorted(common)}


def _correlation(first: dict[str, float], second: dict[str, float]) -> dict[str, Any] | None:
    """Spearman's with its interval; None where too few have both."""
    both = sorted(first.keys() & second.keys())
    if len(both) < LEAST:
        return None
    found = rank_correlation([first[one] for one in both], [second[one] for one in both])
    return {"architectures": len(both), **asdict(found)}


def _train(workers: int) -> None:
    data = prepare(Config.from_yaml(ROOT / "config" / "nano.yaml").data, ROOT / "data")
    with tempfile.TemporaryDirectory() as logs:
        try:
            run_trainings(WarmPool(Path(logs), workers=workers), trainings(), ROOT / "data" / data.id, JOURNAL)
        except (KeyboardInterrupt, WorkInterrupted):
            print("stopped; the same command goes on", flush=True)
            sys.exit(os.EX_TEMPFAIL)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_to_large", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print what it costs, and train nothing")
    parser.add_argument("--judge", action="store_true", help="train nothing, and tell what the journal holds")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.plan:
        print(plan())
        return 0
    os.nice(10)
    if not arguments.judge:
        _train(arguments.workers)
    asked = trainings()
    rows = held(asked, JOURNAL)
    found = {"trainings": len(rows), "of": len(asked), **judge(rows)}
    if len(rows) == len(asked):
        write_result("small_to_large", {"params": {"small": SMALL, "large": LARGE}, "by": WAY, **found})
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
