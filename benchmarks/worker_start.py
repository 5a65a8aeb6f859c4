"""A candidate's start in a warm worker (fork to first step) against a cold process's, in turn."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write_result
from harmony_core.architecture.presets import load_preset
from harmony_core.data import prepare
from harmony_core.data.config import DataConfig
from harmony_core.training.recipe import Recipe
from harmony_core.workers import Outcome, Task, WarmPool

ROUNDS, LARGEST_RATIO = 10, 0.1
TARGET = "harmony_core.evaluation.training_task:run"
COLD = (
    "import json, sys\n"
    "from harmony_core.evaluation.training_task import run\n"
    "print(run(json.load(sys.stdin))['row']['start_seconds'])"
)


def payload(data: Path) -> dict[str, Any]:
    recipe = Recipe(tokens=256, batch_size=4, sequence_length=64, precision="fp32", validation_tokens=256)
    return {
        "architecture": load_preset("llama-nano").to_json(),
        "recipe": recipe.model_dump(mode="json"),
        "data": str(data),
        "row": {"init_seed": 1, "data_seed": 2},
        "splits": ["validation"],
        "layout": {},
        "checkpoints": {"folder": str(data / "none"), "every_seconds": None, "keep": False},
        "time_limit_seconds": None,
    }


def warm_start(work: dict[str, Any], name: str, pool: WarmPool) -> float:
    """Seconds from fork to first step, in a worker that has started a candidate before."""
    answers: list[Outcome] = []
    pool.run([Task(name, TARGET, work)], answers.append)
    result = answers[-1].result
    assert result is not None, answers[-1].error
    return float(result["row"]["start_seconds"])


def cold_start(work: dict[str, Any]) -> float:
    """Seconds from starting a Python process to its first step."""
    work = {**work, "attempt": 1, "forked_at": time.monotonic()}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    command = [sys.executable, "-c", COLD]
    done = subprocess.run(
        command, input=json.dumps(work), capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    return float(done.stdout.strip().splitlines()[-1])


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        manifest = prepare(DataConfig(source="synthetic", max_bytes=60_000), Path(scratch), lambda line: None)
        work = payload(Path(scratch) / manifest.id)
        pool = WarmPool(Path(scratch) / "logs", workers=1)
        warm_start(work, "first", pool)
        cold_start(work)
        warm, cold = [], []
        for index in range(ROUNDS):
            warm.append(warm_start(work, f"round{index}", pool))
            cold.append(cold_start(work))
    ratios = [w / c for w, c in zip(warm, cold, strict=True)]
    ratio = statistics.median(ratios)
    figures = {
        "rounds": ROUNDS,
        "warm_seconds": {"median": statistics.median(warm), "min": min(warm), "max": max(warm)},
        "cold_seconds": {"median": statistics.median(cold), "min": min(cold), "max": max(cold)},
        "ratio": {"median": ratio, "min": min(ratios), "max": max(ratios)},
        "promise": {"ratio": LARGEST_RATIO},
    }
    write_result("worker_start", figures)
    print(f"warm {statistics.median(warm):.3f} s, cold {statistics.median(cold):.3f} s, ratio {ratio:.3f}")
    return 0 if ratio <= LARGEST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
