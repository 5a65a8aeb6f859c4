"""What asking costs: `harmony top` and `pareto` among a million candidates, and every command's start-up.

Each command is run several times, before and after in turns; medians count. Processor seconds say what a command takes
on a core of its own, wall seconds what it took on the machine as busy as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import ROOT, write_result
from benchmarks.made_up_search import Size, write_search
from harmony_core.cli.commands import COMMANDS
from harmony_core.store import SearchFolder

ROUNDS = 5
PROMISES = {"top": 1.0, "pareto": 1.0, "--help": 0.3, "top of the demo": 0.6}
LARGEST_MB = 1000.0
# As many as the demo's configuration has.
DEMO = Size(candidates=128, generations=8, shards=1)


# Linux counts among a process's memory what the one that started it held, so a small one starts it and tells.
LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.call(sys.argv[2:])
wall = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
told = {"code": code, "wall": wall, "processor": used.ru_utime + used.ru_stime}
told["megabytes"] = used.ru_maxrss * 1024 / 1e6
with open(sys.argv[1], "w") as file:
    json.dump(told, file)
"""


class Run(NamedTuple):
    """One run of a command: seconds on the clock and of processors, and the most memory held [MB, 1e6 bytes]."""

    wall: float
    processor: float
    megabytes: float


def run(arguments: list[str], folder: Path, code: Path) -> Run:
    """Runs `harmony` with these arguments.

    Args:
        arguments: of the command.
        folder: that it runs in.
        code: the checkout whose HARMONY it is.
    """
    environment = {**os.environ, "PYTHONPATH": str(code), "COLUMNS": "150"}
    answer, took = folder / "answer.txt", folder / "took.json"
    command = [sys.executable, "-m", "harmony_core", *arguments]
    launched = [sys.executable, "-S", "-c", LAUNCHER, str(took), *command]
    with answer.open("w") as output:
        subprocess.run(launched, cwd=folder, env=environment, stdout=output, stderr=output, check=True)
    told = json.loads(took.read_text())
    if told.pop("code"):
        raise RuntimeError(f"{' '.join(command)}:\n{answer.read_text()[-2000:]}")
    return Run(**told)


def median(runs: list[Run]) -> dict[str, float]:
    """Medians of seconds and the most memory."""
    wall, processor, megabytes = zip(*runs, strict=True)
    return {
        "wall_seconds": round(statistics.median(wall), 3),
        "wall_seconds_least": round(min(wall), 3),
        "processor_seconds": round(statistics.median(processor), 3),
        "megabytes": round(max(megabytes), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of the code before; None leaves it out")
    parser.add_argument("--million", type=Path, help="folder with a search results/million that is made already")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    codes = {"after": ROOT} | ({"before": given.before} if given.before else {})
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.million or Path(scratch)
        if given.million is None:
            write_search(SearchFolder(folder / "results" / "million"), Size(1_000_000))
        demo = Path(scratch)
        write_search(SearchFolder(demo / "results" / "demo"), DEMO)
        for kept in (folder / "results" / "million" / "work").rglob("*.parquet"):
            kept.unlink()
        first = run(["top", "million"], folder, ROOT)
        among = {}
        for name in ("top", "pareto"):
            among[name] = {"after": median([run([name, "million"], folder, ROOT) for _ in range(given.rounds)])}
            if given.before:
                among[name]["before"] = median([run([name, "million"], folder, given.before)])
        calls = {"--help": ["--help"], "top of the demo": ["top", "demo"]}
        calls |= {f"{name} --help": [name, "--help"] for name in COMMANDS}
        known = {which: commands_of(demo, code) for which, code in codes.items()}
        started: dict[str, Any] = {}
        for name, arguments in calls.items():
            runs: dict[str, list[Run]] = {which: [] for which in codes}
            for _ in range(given.rounds):
                for which, code in codes.items():
                    if arguments[0] in known[which] or arguments[0].startswith("-"):
                        runs[which].append(run(arguments, demo, code))
            started[name] = {which: median(one) for which, one in runs.items() if one}
            print(name, started[name], flush=True)
    figures = {
        **{"candidates": 1_000_000, "rounds": given.rounds, "promises_seconds": PROMISES},
        "load_average": os.getloadavg()[0],
        "first_question": first._asdict(),
        **{"million": among, "start": started},
    }
    write_result("ask", figures)
    print(f"first question: {first}")
    kept = all(among[name]["after"]["megabytes"] <= LARGEST_MB for name in among)
    for name, limit in PROMISES.items():
        found = (among if name in among else started)[name]["after"]
        kept = kept and found["wall_seconds"] <= limit
        print(f"{name}: {found} of {limit} s")
    return 0 if kept else 1


def commands_of(folder: Path, code: Path) -> set[str]:
    """The commands that a checkout's `harmony --help` lists."""
    run(["--help"], folder, code)
    listed = re.findall(r"^\W+([a-z]+) ", (folder / "answer.txt").read_text(), re.MULTILINE)
    return set(listed) & COMMANDS.keys()


if __name__ == "__main__":
    sys.exit(main())
