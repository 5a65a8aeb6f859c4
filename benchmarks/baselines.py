"""What the demo's search finds at the nano presets' budget, beside every nano preset, all tuned and trained alike.

Three searches on seeds of their own; of each the best of its front by validation is its finalist. Finalists and presets
are tuned over the same learning rates on seeds of the search, then trained at their best one on fresh seeds, and the
test split is read once. `--plan` prints the cost. What is done stays done: run it again to go on, elsewhere too, since
finalists and trainings are kept beside the results.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks.common import RESULTS, ROOT, run_search, write_result
from benchmarks.statistics import holm, rank_sum, shift
from benchmarks.trainings import SECONDS_A_TRAINING, Row, Training, run_trainings
from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.base import read_yaml
from harmony_core.data import prepare
from harmony_core.results import pareto_front
from harmony_core.search.config import Config
from harmony_core.store import population, selection
from harmony_core.training.recipe import Recipe
from harmony_core.workers.pool import WarmPool

# Active non-embedding parameters of the nano presets lie in this range, so that any two models of the
# table are of equal budget: within 2% of each other, and trained on equally many tokens.
BUDGET = {"min": 977_000, "max": 996_000}
PRESETS = ("llama", "mixtral", "jamba", "samba", "mamba-2", "deepseek", "stripedhyena-2")
SEARCH_SEEDS, TUNING_SEEDS, FRESH_SEEDS = (0, 1, 2), (0, 1), tuple(range(8))
RATES = (3e-3, 1e-2)
JOURNAL = RESULTS / "baselines.jsonl"
FINALISTS = RESULTS / "baselines_finalists.json"
WORK = ROOT / "build" / "baselines"

Models = dict[str, Architecture]


def search_config(seed: int) -> Path:
    """The demo's configuration in a space of one budget, with a seed and a folder of its own."""
    folder = WORK / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    space = read_yaml(ROOT / "resources" / "spaces" / "nano.yaml")
    space["constraints"]["num_active_non_embedding_params"] = BUDGET
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    config = read_yaml(ROOT / "config" / "nano.yaml")
    objectives = [{"name": "val_bits_per_byte"}, {"name": "latency_seconds"}]
    config["search"] |= {"name": "baselines", "seed": seed, "objectives": objectives}
    config["space"] = str(folder / "space.yaml")
    config["data"]["fallback"] = None
    config["recipe"]["precision"] = "fp32"
    config["promote"] = {"top_k": 0, "baselines": []}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def searched(seed: int) -> dict[str, Any]:
    """What a search came to; it is run, or gone on with.

    That is of its front the member with the lowest validation bits per byte, and how many token mixers of each kind its
    generation 0 had (`drawn`) and its last survivors have (`kept`).
    """
    config = search_config(seed)
    run_search(config.parent, config)
    results = config.parent / "results" / "baselines"
    front = pareto_front(results).sort("val_bits_per_byte").collect()
    everybody = population(results).select("generation", "architecture_id", "architecture").collect()
    last = selection(results).filter(pl.col("generation") == pl.col("generation").max(), pl.col("survives")).collect()
    return {
        "architecture": front["architecture"][0],
        "mixers": {
            "drawn": mixers(everybody.filter(pl.col("generation") == 0)["architecture"]),
            "kept": mixers(everybody.join(last, on="architecture_id", how="semi")["architecture"]),
        },
    }


def mixers(architectures: Iterable[str]) -> dict[str, int]:
    """Of the architectures' token mixers, how many are of each kind."""
    blocks = [block for text in architectures for block in Architecture.from_json(text).blocks]
    return dict(sorted(Counter(block.kind for block in blocks if block.role == "mixer").items()))


def searches() -> list[dict[str, Any]]:
    """What each came to; those that are known are not run again."""
    known: dict[str, Any] = json.loads(FINALISTS.read_text()) if FINALISTS.exists() else {}
    for seed in SEARCH_SEEDS:
        if str(seed) not in known:
            known[str(seed)] = searched(seed)
            FINALISTS.write_text(json.dumps(known, indent=1) + "\n")
    return [known[str(seed)] for seed in SEARCH_SEEDS]


def recipe() -> Recipe:
    """The demo's, in fp32, with the rates that everybody is tuned over."""
    config = Config.from_yaml(ROOT / "config" / "nano.yaml")
    return Recipe.parse({**config.recipe.model_dump(), "precision": "fp32", "learning_rate": RATES})


def tuning(models: Models) -> list[Training]:
    """Every model at every rate on the seeds of a search, validation alone."""
    found = []
    for name, architecture in models.items():
        for rate in range(len(RATES)):
            for seed in TUNING_SEEDS:
                labels = {"model": name, "rate": rate, "seed": seed}
                key = f"tuning.{name}.{RATES[rate]:g}.{seed}"
                found.append(Training(key, architecture, recipe().at_rate(rate), seed, labels))
    return found


def best_rates(rows: list[Row]) -> dict[str, int]:
    """By model, the rate of the lowest mean of validation bits per byte; a run that failed rules a rate out."""
    scores: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        bits = row["val_bits_per_byte"]
        of_model = scores.setdefault(row["model"], {})
        of_model.setdefault(row["rate"], []).append(float("inf") if bits is None else bits)
    return {name: min(rates, key=lambda rate: (statistics.fmean(rates[rate]), rate)) for name, rates in scores.items()}


def final(models: Models, rates: dict[str, int]) -> list[Training]:
    """Every model at its rate on fresh seeds; the test split is read here and nowhere else."""
    return [
        Training(
            f"final.{name}.{RATES[rates[name]]:g}.{seed}",
            architecture,
            recipe().at_rate(rates[name]),
            seed,
            {"model": name, "rate": rates[name], "seed": seed},
            ("validation", "test"),
            "promotion",
        )
        for name, architecture in models.items()
        for seed in FRESH_SEEDS
    ]


def table(models: Models, rows: list[Row]) -> list[dict[str, Any]]:
    """A row a model, lowest mean test bits per byte first."""
    found = []
    for name, architecture in models.items():
        of_model = [row for row in rows if row["model"] == name]
        bits = [row["test_bits_per_byte"] for row in of_model if row["test_bits_per_byte"] is not None]
        found.append(
            {
                "model": name,
                "pattern": architecture.pattern(),
                "architecture": architecture.to_json(),
                "learning_rate": of_model[0]["learning_rate"],
                "runs": len(bits),
                "failed": len(of_model) - len(bits),
                "test_bits_per_byte": bits,
                "mean": statistics.fmean(bits) if bits else None,
                "num_active_non_embedding_params": architecture.num_active_non_embedding_params(),
                "num_params": architecture.num_params(),
                "flops_per_token": architecture.flops_per_token(recipe().sequence_length, "train"),
            }
        )
    return sorted(found, key=lambda row: float("inf") if row["mean"] is None else row["mean"])


def comparisons(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every finalist with every preset: the shift of test bits per byte, its interval, and Holm's p-value."""
    bits = {row["model"]: row["test_bits_per_byte"] for row in rows if not row["failed"]}
    pairs = [(one, other) for one in bits if one.startswith("found") for other in bits if not other.startswith("found")]
    p_values = holm({f"{one} {other}": rank_sum(bits[one], bits[other]) for one, other in pairs})
    found = []
    for one, other in pairs:
        middle, low, high = shift(bits[one], bits[other])
        p_value = p_values[f"{one} {other}"]
        found.append({"found": one, "preset": other, "shift": middle, "interval": [low, high], "p_holm": p_value})
    return found


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table as docs/benchmarks.md shows it."""
    lines = [
        "| model | test bits/byte, mean (min to max) | runs | learning rate | parameters: active, all "
        "| FLOPs/token, training | blocks |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        bits = row["test_bits_per_byte"]
        test = f"{row['mean']:.3f} ({min(bits):.3f} to {max(bits):.3f})" if bits else "failed"
        parameters = f"{row['num_active_non_embedding_params'] / 1e6:.2f} M, {row['num_params'] / 1e6:.2f} M"
        costs = f"{parameters} | {row['flops_per_token'] / 1e6:.1f} M"
        lines.append(
            f"| {row['model']} | {test} | {row['runs']} | {row['learning_rate']:g} | {costs} | {row['pattern']} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print what it costs, and train nothing")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.plan:
        print(plan())
        return 0
    os.nice(10)
    models = {f"{name}-nano": load_preset(f"{name}-nano") for name in PRESETS}
    came_to = searches()
    finalists = [Architecture.from_json(one["architecture"]) for one in came_to]
    models |= {f"found {one.id[:8]}": one for one in finalists}
    data = prepare(Config.from_yaml(search_config(0)).data, ROOT / "data")
    pool = WarmPool(WORK / "logs", workers=arguments.workers)

    def run(trainings: list[Training]) -> list[Row]:
        return run_trainings(pool, trainings, ROOT / "data" / data.id, JOURNAL)

    rows = table(models, run(final(models, best_rates(run(tuning(models))))))
    compared = comparisons(rows)
    tuned = {"rates": RATES, "tuning_seeds": len(TUNING_SEEDS), "tokens": recipe().tokens}
    figures = {"budget": BUDGET, "tuning": tuned, "mixers": [one["mixers"] for one in came_to], "models": rows}
    write_result("baselines", {**figures, "comparisons": compared})
    print(markdown(rows))
    for one in compared:
        low, high = one["interval"]
        told = f"{one['shift']:+.3f} ({low:+.3f} to {high:+.3f}), p {one['p_holm']:.3g}"
        print(f"{one['found']} over {one['preset']}: {told}")
    return 0


def plan() -> str:
    """What the campaign costs."""
    demo = Config.from_yaml(ROOT / "config" / "nano.yaml")
    searched = demo.search.generations * demo.search.population * len(demo.recipe.learning_rates) * len(SEARCH_SEEDS)
    models = len(PRESETS) + len(SEARCH_SEEDS)
    trainings = searched + models * (len(RATES) * len(TUNING_SEEDS) + len(FRESH_SEEDS))
    return f"{trainings} trainings, about {trainings * SECONDS_A_TRAINING / 3600:.1f} core-hours"


if __name__ == "__main__":
    sys.exit(main())
