"""What `harmony ui` takes to show a search of a million candidates, whose results are made up, in real Chromium.

Times are a person's: from the opened address, or a change of a filter, until the page shows what was asked for. Beside
them is what the server's own part of a filter takes, its memory at most, and what it takes of a core while a page looks
at a search in which nothing happens.

    python -m benchmarks.ui [--candidates 1000000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page

from benchmarks.common import ROOT, write_result
from benchmarks.made_up_search import Size, write_search
from harmony_core.store import SearchFolder
from tests.browser import browser

FIRST_VIEW_SECONDS, FILTER_SECONDS, MOST_BYTES, IDLE_SHARE = 3.0, 0.3, 1e9, 0.05
NAME = "made-up"
# Questions of a person at the table: none is asked twice, so that nothing is answered from what is kept.
FILTERS = (
    "status=ok",
    "has=mamba2&has=gqa",
    "family=attention&sort=latency_seconds",
    "min.num_params=300000&max.num_params=900000",
    "hasnot=moe&order=desc",
    "sort=num_params&order=desc&page=40",
    "status=diverged&sort=generation",
    "max.val_bits_per_byte=2.0&has=hyena_se",
    "id=ab",
    "min.generation=30&sort=state_bytes",
)


@contextmanager
def served(root: Path) -> Iterator[tuple[psutil.Process, str, float]]:
    """A server of the searches in a folder: its process, the address, and how long it took to listen [s]."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "harmony_core", "ui"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "XDG_RUNTIME_DIR": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield psutil.Process(process.pid), process.stdout.readline().strip(), time.monotonic() - began
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def until(page: Page, condition: str, began: float) -> float:
    """Seconds since `began` until something is so in the page."""
    page.wait_for_function(condition, timeout=600_000)
    return time.monotonic() - began


def tile(name: str, test: str) -> str:
    """Whether a tile of the overview says something."""
    found = f"[...document.querySelectorAll('.tile')].find(one => one.innerText.startsWith('{name}'))"
    return f"() => {{ const told = {found}?.innerText ?? ''; return {test}; }}"


def look(root: Path, candidates: int, idle_seconds: float) -> dict[str, Any]:
    """Everything that is measured of one search.

    Args:
        root: folder of `results/`.
        candidates: how many the search has.
        idle_seconds: for how long a page looks on.
    """
    told: dict[str, Any] = {}
    with served(root) as (process, address, started):
        told["seconds_to_listen"] = started
        with browser(address.rpartition("/")[0] + "/") as watched:
            page = watched.page
            page.goto(address)
            page.wait_for_function("() => location.pathname.length > 20")
            began = time.monotonic()
            page.evaluate(f"location.hash = '/{NAME}'")
            told["first_view_seconds"] = until(page, tile("candidates", "/[1-9]/.test(told)"), began)
            whole = f"{candidates:,}"
            told["all_read_seconds"] = until(page, tile("candidates", f"told.includes('{whole}')"), began)
            told["figure_of_all_seconds"] = until(page, f"() => document.body.innerText.includes('{whole}')", began)
            told |= filters(page)
            told |= idle(page, process, idle_seconds)
            told["wrong"] = watched.wrong
        memory = process.memory_info().rss
        told["peak_memory_bytes"] = max(memory, peak(process.pid))
    return told


def filters(page: Page) -> dict[str, Any]:
    """Seconds of each filter until its rows are there, and of the server's answer alone."""
    page.evaluate(f"location.hash = '/{NAME}/candidates'")
    page.wait_for_selector("tbody tr")
    answers: list[float] = []

    def timed(request: Any) -> None:
        if "/api/candidates" in request.url:
            timing = request.timing
            answers.append((timing["responseEnd"] - timing["requestStart"]) / 1e3)

    page.on("requestfinished", timed)
    seconds: list[dict[str, Any]] = []
    for filtered in FILTERS:
        answers.clear()
        began = time.monotonic()
        page.evaluate(f"location.hash = '/{NAME}/candidates?{filtered}'")
        page.wait_for_selector(f"#main[data-shown='#/{NAME}/candidates']")
        seconds.append(
            {"filter": filtered, "page": time.monotonic() - began, "answer": answers[0] if answers else None}
        )
    page.remove_listener("requestfinished", timed)
    known = [one["answer"] for one in seconds if one["answer"] is not None]
    return {
        "filters": seconds,
        "filter_seconds_median": statistics.median(one["page"] for one in seconds),
        "filter_seconds_most": max(one["page"] for one in seconds),
        "filter_answer_seconds_median": statistics.median(known),
    }


def idle(page: Page, process: psutil.Process, seconds: float) -> dict[str, Any]:
    """The share of a core that the server takes while the overview is looked at."""
    page.evaluate(f"location.hash = '/{NAME}'")
    page.wait_for_selector(f"#main[data-shown='#/{NAME}']")
    # What is found once in half a minute has been found by then.
    page.wait_for_timeout(10_000)
    before = process.cpu_times()
    began = time.monotonic()
    page.wait_for_timeout(1000 * seconds)
    after = process.cpu_times()
    took = after.user + after.system - before.user - before.system
    return {"idle_core_share": took / (time.monotonic() - began)}


def peak(pid: int) -> int:
    """The most memory that a process has held [bytes], as Linux knows it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="What harmony ui takes to show a million candidates.")
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", type=Path, help="where results/made-up lies, or is written; a passing one by default"
    )
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        root = (given.folder or Path(passing)).resolve()
        folder = SearchFolder(root / "results" / NAME)
        if not folder.manifest.is_file():
            write_search(folder, Size(given.candidates))
        found = look(root, given.candidates, given.idle_seconds)
    promises = {
        "first view": (found["first_view_seconds"], FIRST_VIEW_SECONDS, "s"),
        "filter, median": (found["filter_seconds_median"], FILTER_SECONDS, "s"),
        "memory": (found["peak_memory_bytes"] / 1e6, MOST_BYTES / 1e6, "MB"),
        "idle": (found["idle_core_share"], IDLE_SHARE, "of a core"),
    }
    for name, (value, promise, unit) in promises.items():
        print(f"{name:<16} {value:10.3f} {unit} (promise: below {promise:g})")
    print(f"all of them are read after {found['all_read_seconds']:.1f} s")
    print(
        *itertools.starmap("{}: {}".format, ((one["filter"], f"{one['page']:.3f} s") for one in found["filters"])),
        sep="\n",
    )
    load = os.getloadavg()
    write_result(
        "ui",
        {
            "candidates": given.candidates,
            "load_average": load,
            "promises": {k: v[1] for k, v in promises.items()},
            **found,
        },
    )
    return 0 if all(value < promise for value, promise, _ in promises.values()) and not found["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
