"""How long `make search` takes, and how much of the machine's time it spends training or measuring."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks.common import ROOT, job_times, run_search, write_result
from harmony_core.host import usable_cores
from harmony_core.search.config import Config
from harmony_core.store import latency, training

LIMIT_SECONDS, LEAST_SHARE = 600.0, 0.75
CONFIG = ROOT / "config" / "nano.yaml"


def busy_seconds(search: Path) -> dict[str, float]:
    """Core-seconds in training steps, in evaluation and in latency measurements; each runs on one core."""
    trained = pl.concat([training(search), training(search, promoted=True)])
    timed = pl.concat([latency(search), latency(search, promoted=True)])
    sums = trained.select(training=pl.col("seconds").sum(), evaluation=pl.col("eval_seconds").sum()).collect()
    measured = timed.select(latency=pl.col("seconds").sum()).collect()
    return {**sums.row(0, named=True), **measured.row(0, named=True)}


def main() -> int:
    config = Config.from_yaml(CONFIG)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        begin = time.monotonic()
        run_search(folder, CONFIG)
        wall = time.monotonic() - begin
        times = job_times(folder)
        busy = busy_seconds(folder / "results" / config.search.name)
    span = max(end for _, end in times.values()) - min(start for start, _ in times.values())
    share = sum(busy.values()) / (usable_cores() * span)
    figures = {
        "generations": config.search.generations,
        "population": config.search.population,
        "cores": usable_cores(),
        "wall_seconds": round(wall, 1),
        "first_to_last_job_seconds": round(span, 1),
        "busy_core_seconds": {name: round(value, 1) for name, value in busy.items()},
        "busy_share": round(share, 4),
        "promise": {"wall_seconds": LIMIT_SECONDS, "busy_share": LEAST_SHARE},
    }
    write_result("search_run", figures)
    print(f"make search: {wall:.0f} s (promise {LIMIT_SECONDS:.0f}), {share:.1%} busy (promise {LEAST_SHARE:.0%})")
    return 0 if wall <= LIMIT_SECONDS and share >= LEAST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
