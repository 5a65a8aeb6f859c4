"""Planning a search of 20 generations of 16,384 candidates: `snakemake -n` in time and memory."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import ROOT, write_result

PROFILES, ROUNDS = ("local", "slurm", "frontier"), 3
LARGEST_SECONDS, LARGEST_MB = 15.0, 300.0
SEARCH = {
    "search": {"name": "planned", "generations": 20, "population": 16_384},
    "execution": {"candidates_per_job": 128},
}


def plan(folder: Path, config: Path, profile: str) -> tuple[float, float, int]:
    """Wall seconds, peak resident MB (1e6 bytes) and jobs of one dry run."""
    command = [
        *(sys.executable, "-m", "snakemake", "--dry-run", "--profile", str(ROOT / "profiles" / profile)),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(config)),
    ]
    log = folder / "planned.log"
    with log.open("w") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    text = log.read_text()
    total = re.search(r"^total\s+(\d+)$", text, re.MULTILINE)
    if status or total is None:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}:\n{text[-2000:]}")
    return seconds, used.ru_maxrss * 1024 / 1e6, int(total[1])


def measure(folder: Path, config: Path, profile: str) -> dict[str, Any]:
    rounds = [plan(folder, config, profile) for _ in range(ROUNDS)]
    seconds, megabytes, jobs = zip(*rounds, strict=True)
    return {
        "jobs": jobs[0],
        "seconds": {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)},
        "megabytes": max(megabytes),
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "config.yaml"
        config.write_text(yaml.safe_dump(SEARCH))
        profiles = {profile: measure(Path(scratch), config, profile) for profile in PROFILES}
    write_result("planning", {"profiles": profiles, "promise": {"seconds": LARGEST_SECONDS, "mb": LARGEST_MB}})
    kept = True
    for profile, one in profiles.items():
        seconds, megabytes = one["seconds"]["median"], one["megabytes"]
        print(f"{profile}: {one['jobs']:,} jobs planned in {seconds:.1f} s with {megabytes:.0f} MB")
        kept = kept and seconds <= LARGEST_SECONDS and megabytes <= LARGEST_MB
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
