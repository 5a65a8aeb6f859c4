"""What a verdict at the demo's tokens says of one at four times as many, on a stratified sample of its space.

Architectures are drawn as a search's generation 0 is, and trained as the demo trains: on two seeds, and the first seed
goes on from its trunk to four times the tokens. Told are the rank correlation of short with long, that of seed with
seed, which is what a longer training could agree with at most, and how much of the variance of the short one's losses
the first token mixer's class explains. `--plan` prints the cost, `--judge` tells what the journal holds. What is done
stays done: run it again to go on.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, write_result
from benchmarks.trainings import SECONDS_A_TRAINING, Row, Training, held, run_trainings
from harmony_core.architecture import Architecture
from harmony_core.data import prepare
from harmony_core.scaling.rank import rank_correlation
from harmony_core.search.config import Config
from harmony_core.space import Space, draw_strata, sample
from harmony_core.training.recipe import Recipe
from harmony_core.workers.pool import WarmPool

COUNT, SAMPLE_SEED, SEEDS, LONGER = 32, 2026, (0, 1), 4
# Fewer have no rank to speak of.
LEAST = 3
JOURNAL = RESULTS / "token_budgets.jsonl"
TRUNKS = ROOT / "build" / "token_budgets"
CLASSES = {
    **dict.fromkeys(("mha", "mqa", "gqa", "mla", "swa"), "attention"),
    **dict.fromkeys(("mamba", "mamba2"), "state space"),
    **dict.fromkeys(("gated_deltanet", "kda"), "delta rule"),
    **dict.fromkeys(("hyena_se", "hyena_mr", "hyena_li", "short_conv"), "convolution"),
    "parallel": "attention and state space",
}


def draw(vocab_size: int) -> list[Architecture]:
    """The architectures, without repetition."""
    rng = np.random.default_rng(SAMPLE_SEED)
    space = Space.read("nano")
    return [sample(space, vocab_size, rng, stratum).architecture for stratum in draw_strata(COUNT, rng)]


def recipes() -> tuple[Recipe, Recipe]:
    """The demo's in fp32, and the same with more tokens; the learning rates are the demo's."""
    demo = Config.from_yaml(ROOT / "config" / "nano.yaml").recipe
    # A share of the tokens would be another trunk.
    warmup = demo.warmup_steps * demo.batch_size * demo.sequence_length
    short = Recipe.parse({**demo.model_dump(), "precision": "fp32", "warmup_tokens": warmup})
    return short, Recipe.parse({**short.model_dump(), "tokens": LONGER * short.tokens})


def short_trainings(architectures: Sequence[Architecture]) -> list[Training]:
    """Every architecture on every seed at every learning rate."""
    recipe, _ = recipes()
    found = []
    for number, architecture in enumerate(architectures):
        for seed in SEEDS:
            for rate in range(len(recipe.learning_rates)):
                key = f"short.{number}.{rate}.{seed}"
                labels = {"number": number, "rate": rate, "seed": seed, "tokens_asked": recipe.tokens}
                trunk = TRUNKS / key if seed == SEEDS[0] else None
                found.append(Training(key, architecture, recipe.at_rate(rate), seed, labels, trunk=trunk))
    return found


def long_trainings(architectures: Sequence[Architecture], rates: Sequence[int]) -> list[Training]:
    """Every architecture at its better rate, from the trunk of its short training.

    Where that is gone, as in another checkout, from the start: to the same bits, for more time.
    """
    _, recipe = recipes()
    found = []
    for number, (architecture, rate) in enumerate(zip(architectures, rates, strict=True)):
        labels = {"number": number, "rate": rate, "seed": SEEDS[0], "tokens_asked": recipe.tokens}
        kept = TRUNKS / f"short.{number}.{rate}.{SEEDS[0]}"
        trunk = kept if kept.exists() else None
        key = f"long.{number}.{rate}.{SEEDS[0]}"
        found.append(Training(key, architecture, recipe.at_rate(rate), SEEDS[0], labels, trunk_of=trunk))
    return found


def best(rows: Sequence[Row], seed: int) -> tuple[list[int], list[float]]:
    """By architecture the better rate on a seed, and its bits per byte; a training that failed is infinitely bad."""
    found: dict[int, tuple[float, int]] = {}
    for row in rows:
        if row["seed"] == seed:
            bits = float("inf") if row["val_bits_per_byte"] is None else row["val_bits_per_byte"]
            found[row["number"]] = min(found.get(row["number"], (float("inf"), row["rate"])), (bits, row["rate"]))
    return [found[number][1] for number in range(len(found))], [found[number][0] for number in range(len(found))]


def correlation(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Spearman's, with its 95% interval (percentile bootstrap over the architectures)."""
    found = rank_correlation(first, second)
    return {"spearman": round(found.value, 3), "low": round(found.low, 3), "high": round(found.high, 3)}


def explained(values: Sequence[float], classes: Sequence[str]) -> float:
    """The share of the variance that lies between classes (eta squared)."""
    values_N = np.array(values)
    means = {one: values_N[[other == one for other in classes]].mean() for one in set(classes)}
    between = sum((means[one] - values_N.mean()) ** 2 for one in classes)
    return float(between / ((values_N - values_N.mean()) ** 2).sum())


def first_mixer(architecture: Architecture) -> str:
    """The class of its first token mixer."""
    return next(CLASSES[block.kind] for block in architecture.blocks if block.kind in CLASSES)


def judge(architectures: Sequence[Architecture], short: Sequence[Row], long: Sequence[Row]) -> dict[str, Any]:
    """What is told of the short trainings, and of those that have gone on, once there are some."""
    (_, first), (_, second) = best(short, SEEDS[0]), best(short, SEEDS[1])
    after = {row["number"]: row["val_bits_per_byte"] for row in long if row["val_bits_per_byte"] is not None}
    alive = [number for number in range(len(architectures)) if math.isfinite(first[number] + second[number])]
    classes = [first_mixer(one) for one in architectures]
    found: dict[str, Any] = {
        "architectures": len(alive),
        "failed": len(architectures) - len(alive),
        "by_class": {one: [classes[n] for n in alive].count(one) for one in sorted(set(classes))},
        "seed_with_seed": correlation([first[n] for n in alive], [second[n] for n in alive]),
        "first_mixer_explains": round(explained([first[n] for n in alive], [classes[n] for n in alive]), 3),
    }
    both = [number for number in alive if number in after]
    if len(both) >= LEAST:
        before, later = [first[n] for n in both], [after[n] for n in both]
        num_best = max(1, len(both) // 4)
        overlap = set(np.argsort(before)[:num_best]) & set(np.argsort(later)[:num_best])
        found["longer"] = {
            "architectures": len(both),
            "failed": len(long) - len(after),
            "short_with_long": correlation(before, later),
            "best_quarter_in_both": [len(overlap), num_best],
            "first_mixer_explains": round(explained(later, [classes[n] for n in both]), 3),
        }
    return found


def train(architectures: Sequence[Architecture], data: Path, workers: int) -> None:
    """Trains what the journal lacks."""
    with tempfile.TemporaryDirectory() as logs:
        pool = WarmPool(Path(logs), workers=workers)
        rates, _ = best(run_trainings(pool, short_trainings(architectures), data, JOURNAL), SEEDS[0])
        run_trainings(pool, long_trainings(architectures, rates), data, JOURNAL)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.token_budgets", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print what it costs, and train nothing")
    parser.add_argument("--judge", action="store_true", help="train nothing, and tell what the journal holds")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    short, long = recipes()
    if arguments.plan:
        count = COUNT * len(SEEDS) * len(short.learning_rates)
        equal = count + COUNT * (long.num_steps - short.trunk_steps) / short.num_steps
        print(f"{count + COUNT} trainings, about {equal * SECONDS_A_TRAINING / 3600:.1f} core-hours")
        return 0
    os.nice(10)
    data = prepare(Config.from_yaml(ROOT / "config" / "nano.yaml").data, ROOT / "data")
    architectures = draw(data.vocab_size)
    if not arguments.judge:
        train(architectures, ROOT / "data" / data.id, arguments.workers)
    shorts = held(asked := short_trainings(architectures), JOURNAL)
    if len(shorts) < len(asked):
        print(f"{JOURNAL.name}: {len(shorts)} of {len(asked)} short trainings; run it without --judge", file=sys.stderr)
        return 1
    longs = held(long_trainings(architectures, best(shorts, SEEDS[0])[0]), JOURNAL)
    found = judge(architectures, shorts, longs)
    write_result("token_budgets", {"tokens": [short.tokens, long.tokens], "seeds": len(SEEDS), **found})
    for name, value in found.items():
        print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
