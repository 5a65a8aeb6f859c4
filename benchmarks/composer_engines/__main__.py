"""`python -m benchmarks.composer_engines`: trains the table, in pieces where it must, and replays the engines on it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, write_result
from benchmarks.composer_engines import judge, table
from benchmarks.trainings import Row
from harmony_core.architecture import Architecture
from harmony_core.data import prepare
from harmony_core.search.config import Config
from harmony_core.workers.pool import WarmPool

# What the engines tried in each fresh draw.
DRAWS = RESULTS / "composer_engines_draws.jsonl"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.composer_engines", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print what it costs, and train nothing")
    parser.add_argument("--fresh", action="store_true", help="replay further draws at 8 trials, from their journal on")
    parser.add_argument("--judge", action="store_true", help="with --fresh: tell what the journal holds")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.plan:
        print(table.plan())
        return 0
    os.nice(10)
    rows, designs = _rows(arguments.workers)
    losses = table.losses(rows)
    if arguments.fresh:
        fresh = judge.judge_fresh(losses, designs, DRAWS, arguments.judge)
        command = "python -m benchmarks.composer_engines --fresh"
        write_result("composer_engines_fresh", {"command": command, **fresh})
        print("\n".join(_regrets(fresh)))
        return 0
    found = judge.judge(losses, designs)
    found["kept"] = judge.promises(found)
    write_result("composer_engines", {"tokens": table.recipe().tokens, "seeds": len(table.SEEDS), **found})
    for line in _told(found):
        print(line)
    return 0 if all(found["kept"].values()) else 1


def _rows(workers: int) -> tuple[list[Row], dict[str, Architecture]]:
    data = prepare(Config.from_yaml(ROOT / "config" / "nano.yaml").data, ROOT / "data")
    with tempfile.TemporaryDirectory() as logs:
        pool = WarmPool(Path(logs), workers=workers)
        rows = table.train(pool, data.vocab_size, ROOT / "data" / data.id)
    return rows, table.designs(data.vocab_size)


def _regrets(found: dict[str, Any]) -> Iterator[str]:
    for budget, engines in found["regret"].items():
        for name, of in engines.items():
            spread = f"({of['lower_quartile']:.4f} to {of['upper_quartile']:.4f})"
            between = f"({of['low']:+.4f} to {of['high']:+.4f})"
            against = f"{of['mean_less_random']:+.4f} {between} less random, p {of['p_against_random']:.3f}"
            yield f"{budget:>2} trials {name:16} median regret {of['median']:.4f} {spread} bits per byte, {against}"


def _told(found: dict[str, Any]) -> Iterator[str]:
    yield from _regrets(found)
    for name, of in found["aggregators"].items():
        hits = f"{of['among_best_three']} of {found['draws']} among the best three"
        yield f"{name:48} {hits}, median regret {of['median_regret']:.4f}"
    yield f"seeds agree: {found['seeds_agree']}; best: {found['best_by_all_seeds']}; kept: {found['kept']}"


if __name__ == "__main__":
    sys.exit(main())
