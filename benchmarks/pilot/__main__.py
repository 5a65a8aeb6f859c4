"""`python -m benchmarks.pilot`: the stages in order, each going on from what the journal holds; then the table."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.common import RESULTS, ROOT, write_result
from benchmarks.pilot import campaign
from benchmarks.pilot.campaign import Campaign, Trial, best_rates, best_settings, better_rate, mean_regret, scores
from benchmarks.pilot.settings import BEFORE, RATES, SETTINGS, recipe
from benchmarks.pilot.stacks import stacks
from benchmarks.trainings import SECONDS_A_TRAINING
from harmony_core.data import prepare
from harmony_core.data.config import DataConfig
from harmony_core.workers.pool import WarmPool

JOURNAL = RESULTS / "pilot.jsonl"
STAGES = ("settings", "rates", "stacks", "fresh")
KEPT_SETTINGS = 2
WORST_REGRET, MEAN_REGRET, WORSE_THAN_BEFORE = 0.03, 0.015, 0.02


def main() -> int:
    arguments = _arguments()
    architectures = stacks()
    if arguments.plan:
        _plan(len(architectures))
        return 0
    os.nice(10)
    data = prepare(DataConfig(fallback=None), ROOT / "data")
    with tempfile.TemporaryDirectory() as logs:
        pool = WarmPool(Path(logs), workers=arguments.workers)
        runs = Campaign(pool, architectures, ROOT / "data" / data.id, JOURNAL)
        if arguments.stack:
            return _judge(runs, arguments.stack)
        found = _stages(runs, list(architectures), arguments.until)
    write_result("pilot", {"rates": list(RATES), "settings": {one: _setting(one) for one in SETTINGS}, **found})
    for line in _told(found):
        print(line)
    return 0 if found.get("kept", True) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pilot", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print what it costs, and train nothing")
    parser.add_argument("--until", choices=STAGES, default="fresh", help="the last stage to run")
    parser.add_argument("--stack", help="judge one stack with the setting that was chosen, beside its own best")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def _plan(num_stacks: int) -> None:
    others = num_stacks - len(campaign.SCREENED)
    counts = {
        "settings": len(SETTINGS) * len(campaign.SCREENED),
        "rates": 2 * len(RATES) * 2 * len(campaign.SCREENED),
        "stacks": 2 * 2 * 2 * others,
        "fresh": 3 * 4 * num_stacks,
    }
    for stage, count in counts.items():
        print(f"{stage}: at most {count} trainings, about {count * SECONDS_A_TRAINING / 60:.0f} core-minutes")
    print(f"in all about {sum(counts.values()) * SECONDS_A_TRAINING / 3600:.1f} core-hours")


def _setting(name: str) -> dict[str, Any]:
    chosen = recipe(name)
    return {**chosen.parametrisation.model_dump(), "warmup_tokens": chosen.warmup_tokens}


def _stages(runs: Campaign, names: list[str], until: str) -> dict[str, Any]:
    first, regret = campaign.race(runs)
    found: dict[str, Any] = {"settings_stage": _table(first), "mean_regret_by_setting": regret}
    if until == "settings":
        return found
    settings = best_settings(regret, KEPT_SETTINGS)
    second = scores(runs.run(campaign.rates_stage(settings)))
    setting = best_settings(mean_regret(second, range(len(RATES))), 1)[0]
    rates = best_rates(second, setting)
    found |= {"rates_stage": _table(second), "chosen": setting, "learning_rates": [RATES[rate] for rate in rates]}
    if until == "rates":
        return found
    third = {**second, **scores(runs.run(campaign.stacks_stage(names, settings, rates)))}
    found |= {"stacks_stage": _table(third)}
    if until == "stacks":
        return found
    return {**found, **_fresh(runs, names, third, settings, setting, rates)}


def _fresh(
    runs: Campaign, names: list[str], third: campaign.Scores, settings: list[str], setting: str, rates: tuple[int, ...]
) -> dict[str, Any]:
    chosen = {stack: (setting, better_rate(third, stack, setting, rates)) for stack in names}
    best = {}
    for stack in names:
        own = {one: better_rate(third, stack, one, range(len(RATES))) for one in settings}
        best[stack] = min(own.items(), key=lambda item: third[stack, item[0]][item[1]])
    rows = runs.run(campaign.fresh_stage(chosen, best))
    bits = {Trial(r["stack"], r["setting"], r["rate"], r["seed"]): r["val_bits_per_byte"] for r in rows}

    def paired(stack: str, other: tuple[str, int]) -> list[float]:
        return [
            bits[Trial(stack, *chosen[stack], seed)] - bits[Trial(stack, *other, seed)] for seed in campaign.FRESH_SEEDS
        ]

    table = []
    for stack in names:
        regret = paired(stack, best[stack])
        low, high = _interval(regret)
        before = statistics.fmean(paired(stack, (BEFORE, chosen[stack][1])))
        values = [bits[Trial(stack, *chosen[stack], seed)] for seed in campaign.FRESH_SEEDS]
        table.append(
            {
                "stack": stack,
                "val_bits_per_byte": statistics.fmean(values),
                "learning_rate": RATES[chosen[stack][1]],
                "own_best": best[stack][0],
                "own_best_learning_rate": RATES[best[stack][1]],
                "regret": statistics.fmean(regret),
                "regret_interval": [low, high],
                "interval_crosses": low <= WORST_REGRET < high,
                "over_before": before,
            }
        )
    worst, mean = max(row["regret"] for row in table), statistics.fmean(row["regret"] for row in table)
    kept = worst <= WORST_REGRET and mean <= MEAN_REGRET
    kept = kept and all(row["over_before"] <= WORSE_THAN_BEFORE for row in table)
    return {"fresh_stage": table, "worst_regret": worst, "mean_regret": mean, "kept": kept}


def _interval(values: list[float]) -> tuple[float, float]:
    """95% by Student's t; a difference of a training with itself is 0."""
    spread = statistics.stdev(values)
    if spread == 0:
        return values[0], values[0]
    half = float(stats.t.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5
    mean = statistics.fmean(values)
    return mean - half, mean + half


def _judge(runs: Campaign, stack: str) -> int:
    """One stack over the grid's settings and rates, for a mixer that came later."""
    trials = [Trial(stack, one, rate, campaign.SCREEN_SEEDS[0]) for one in SETTINGS for rate in range(len(RATES))]
    for (_, setting), rates in sorted(scores(runs.run(trials)).items(), key=lambda item: min(item[1].values())):
        print(f"{setting:30}", *(f"{RATES[rate]:g}: {bits:.4f}" for rate, bits in sorted(rates.items())))
    return 0


def _table(found: campaign.Scores) -> list[dict[str, Any]]:
    return [
        {
            "stack": stack,
            "setting": setting,
            "val_bits_per_byte": {f"{RATES[rate]:g}": bits for rate, bits in of.items()},
        }
        for (stack, setting), of in found.items()
    ]


def _told(found: dict[str, Any]) -> list[str]:
    lines = [f"{setting:30} mean regret {regret:.4f}" for setting, regret in found["mean_regret_by_setting"].items()]
    if "chosen" in found:
        lines.append(f"chosen: {found['chosen']}, learning rates {found['learning_rates']}")
    for row in found.get("fresh_stage", ()):
        lines.append(
            f"{row['stack']:16} {row['val_bits_per_byte']:.4f} regret {row['regret']:+.4f} {row['regret_interval']}"
        )
    if "worst_regret" in found:
        lines.append(
            f"worst regret {found['worst_regret']:.4f}, mean {found['mean_regret']:.4f}; kept: {found['kept']}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
