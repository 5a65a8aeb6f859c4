"""Whether a change of the code changes what a search does: the same search at two commits, compared value by value.

`python -m benchmarks.unchanged BEFORE [AFTER]` checks both commits out beside each other and runs two generations with
predicted latencies on this machine (measured ones would differ between two runs of one commit). Populations, losses and
selections must be equal bit for bit; columns that only one of them has are named.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks.common import ROOT

CONFIG: dict[str, Any] = {
    "search": {"name": "same", "generations": 2, "population": 4, "seed": 7},
    "space": "nano",
    "data": {"source": "synthetic"},
    "recipe": {
        "tokens": 4096,
        "batch_size": 4,
        "sequence_length": 128,
        "warmup_tokens": 512,
        "learning_rate": [1e-3, 3e-3],
        "validation_tokens": 2048,
        "precision": "fp32",
    },
    "latency": {"source": "predicted:cpu", "objective": "prefill", "modes": ["prefill"]},
    "promote": {"top_k": 1, "baselines": []},
}
TABLES = {
    "population": "generation=*/population.parquet",
    "training": "generation=*/training/*.parquet",
    "curves": "generation=*/curves/*.parquet",
    "latency": "generation=*/latency/*.parquet",
    "selection": "generation=*/selection.parquet",
}
# What another moment, process or place makes different.
PASSING = {
    "seconds",
    "start_seconds",
    "eval_seconds",
    "device_seconds",
    "tokens_per_second",
    "started_at",
    "host",
    "peak_memory_bytes",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unchanged", description=__doc__)
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", nargs="?", default="HEAD", help="another")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = {name: run(name, Path(temporary)) for name in (arguments.before, arguments.after)}
        differences = [line for name in TABLES for line in compare(name, *found.values())]
    for line in differences:
        print(line)
    print("they differ" if differences else "populations, losses and selections are equal")
    return 1 if differences else 0


def run(commit: str, temporary: Path) -> Path:
    """Checks a commit out and runs its search; the search's folder."""
    code = temporary / f"code-{len(list(temporary.iterdir()))}"
    code.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "--extract", "--directory", str(code)], input=archive, check=True)
    (code / "same.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, "-m", "snakemake", "--profile", "local", "--configfile", "same.yaml", "--quiet", "all"]
    environment = {**os.environ, "PYTHONPATH": str(code)}
    subprocess.run(command, cwd=code, env=environment, check=True)
    return code / "results" / "same"


def compare(name: str, before: Path, after: Path) -> list[str]:
    """What is different between two searches' tables of one kind; columns that passed away or came are said first."""
    old, new = (table(folder, TABLES[name]) for folder in (before, after))
    for which, more, fewer in (("after", new, old), ("before", old, new)):
        if only := sorted(set(more.columns) - set(fewer.columns)):
            print(f"{name}: columns {which} alone: {', '.join(only)}")
    if old.height != new.height:
        return [f"{name}: {old.height} rows before, {new.height} after"]
    shared = [column for column in old.columns if column in new.columns and not is_passing(column)]
    return [f"{name}.{column} differs" for column in shared if not old[column].equals(new[column], null_equal=True)]


def table(folder: Path, pattern: str) -> pl.DataFrame:
    """All rows of a kind, in the order of their keys."""
    frame = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in sorted(folder.glob(pattern))])
    keys = ("generation", "candidate", "birth_generation", "birth_candidate", "replicate", "rate", "mode", "step")
    return frame.sort([key for key in keys if key in frame.columns])


def is_passing(column: str) -> bool:
    """Whether a column's values are of one run alone."""
    return column in PASSING


if __name__ == "__main__":
    sys.exit(main())
