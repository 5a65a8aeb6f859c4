"""What the benchmarks share: running a search in a folder of its own, and writing a result with its circumstances."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harmony_core.host import cpu_name

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def write_result(name: str, figures: dict[str, Any]) -> None:
    """Writes benchmarks/results/NAME.json: the figures, and what they were measured on and with."""
    circumstances = {
        "benchmark": name,
        "command": f"python -m benchmarks.{name}",
        "cpu": cpu_name(),
        "packages": {package: version(package) for package in ("torch", "deepspeed", "snakemake")},
        "python": sys.version.split()[0],
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**circumstances, **figures}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def run_search(folder: Path, config: Path) -> None:
    """Runs a search through Snakemake in `folder`, its output shown; a failure ends the benchmark."""
    place = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(config)]
    profile = ["--profile", str(ROOT / "profiles" / "local")]
    subprocess.run([sys.executable, "-m", "snakemake", *profile, *place], check=True, cwd=ROOT)


def job_times(folder: Path) -> dict[str, tuple[float, float]]:
    """Start and end of each job that Snakemake has recorded, by one of its outputs (seconds since the epoch)."""
    times = {}
    for record in (folder / ".snakemake" / "metadata").iterdir():
        data = json.loads(record.read_text())
        output = base64.b64decode(record.name).decode()
        times[output] = (data["starttime"], data["endtime"])
    return times
