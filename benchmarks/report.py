"""The report of 20,000 made-up candidates, and `harmony watch` while nothing happens."""

from __future__ import annotations

import itertools
import json
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import ROOT, write_result
from benchmarks.made_up_search import Size, write_search
from harmony_core.store import POPULATION, Journal, Run, SearchFolder, read_table
from harmony_core.store.live_curve import LiveCurveWriter, live_curve_file
from harmony_core.workflow import main_lease

CANDIDATES, MOST_SECONDS, MOST_BYTES, MOST_SHARE = 20_000, 60.0, 15_000_000, 0.05
UNDER_WAY, WATCHED_SECONDS = 8, 60.0
WRITE = (
    "import json, resource, sys, time\n"
    "began = time.monotonic()\n"
    "from harmony_core.report.write import write_report\n"
    "page = write_report(sys.argv[1])\n"
    "used = resource.getrusage(resource.RUSAGE_SELF)\n"
    "print(json.dumps({'seconds': time.monotonic() - began, 'core_seconds': used.ru_utime + used.ru_stime,\n"
    "                  'peak_bytes': 1024 * used.ru_maxrss, 'page_bytes': page.stat().st_size}))\n"
)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        large = SearchFolder(Path(scratch) / "results" / "large")
        write_search(large, Size(CANDIDATES))
        report = written(large)
        small = SearchFolder(Path(scratch) / "results" / "small")
        write_search(small, Size(48, generations=3, shards=2))
        figures: dict[str, Any] = {
            "candidates": CANDIDATES,
            "report": report,
            "report_of_48": written(small),
            "watch_core_share": watched(large),
            "watch_seconds": WATCHED_SECONDS,
            "load_average": os.getloadavg()[0],
        }
    print(json.dumps(figures, indent=1))
    write_result("report", figures)
    told = f"{report['seconds']:.0f} s, {report['page_bytes'] / 1e6:.1f} MB, watch {figures['watch_core_share']:.1%}"
    print(f"{told} of a core; promised: {MOST_SECONDS:.0f} s, {MOST_BYTES / 1e6:.0f} MB, {MOST_SHARE:.0%}")
    kept = report["seconds"] <= MOST_SECONDS and report["page_bytes"] <= MOST_BYTES
    sys.exit(0 if kept and figures["watch_core_share"] <= MOST_SHARE else 1)


def written(folder: SearchFolder) -> dict[str, float]:
    """What one report takes, in a process of its own, imports included."""
    command = [sys.executable, "-c", WRITE, str(folder.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def watched(folder: SearchFolder) -> float:
    """The share of a core that `harmony watch` takes on a terminal while candidates train and nothing else happens."""
    reopen(folder)
    lease = main_lease(folder)
    lease.acquire()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "harmony_core", "watch", str(folder.path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    begun = threading.Event()
    threading.Thread(target=drain, args=(ours, begun), daemon=True).start()
    try:
        if not begun.wait(300):
            raise RuntimeError("harmony watch shows nothing")
        watcher = psutil.Process(process.pid)
        before, since = sum(watcher.cpu_times()[:2]), time.monotonic()
        time.sleep(WATCHED_SECONDS)
        return float((sum(watcher.cpu_times()[:2]) - before) / (time.monotonic() - since))
    finally:
        process.kill()
        process.wait()
        lease.release()


def reopen(folder: SearchFolder) -> None:
    """Makes the last generation one under way: its first candidates train, and tell how far they are."""
    last = folder.generations()[-1]
    for path in [folder.selection(last), *folder.shards(last, "training"), folder.report / "index.html"]:
        path.unlink()
    folder.main.parent.mkdir(parents=True, exist_ok=True)
    folder.main.write_text(json.dumps({"arguments": [], "folder": str(folder.path)}))
    ids = read_table(folder.population(last), POPULATION, ["architecture_id"])["architecture_id"]
    shard = folder.work("training", folder.generation(last).name, "shard=000")
    with Journal(shard / "journal.jsonl") as journal:
        journal.append({"event": "open", "total": UNDER_WAY})
        for number, name in enumerate(ids[:UNDER_WAY]):
            key = Run().name(name, number)
            journal.append({"event": "begin", "attempt": 1, "key": key})
            # A clock that has gone on by long enough at each look, so that every step is told.
            clock = itertools.count(0.0, 100.0)
            live = LiveCurveWriter(live_curve_file(shard, key), 1000, clock=clock.__next__)
            for step in range(200):
                live.tell(step, 4096 * step, 5.5 - 0.01 * step, 2.0 * step)


def drain(terminal: int, begun: threading.Event) -> None:
    """Reads what a terminal gets, until its other end is closed."""
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown = (shown + part)[-4096:]
            if b"candidate" in shown:
                begun.set()
    except OSError:
        # Linux's word for a terminal's end.
        return


if __name__ == "__main__":
    main()
