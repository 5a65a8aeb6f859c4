"""Runs steps one after the other, each in a process of its own that is ended at its limit.

`benchmarks.operators.isolation` has processes too, but no limits: a kernel that hangs would take all that is left.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.row import plain, said
from benchmarks.gpu_check.settings import LEAST_SECONDS, Before, Row, Setting, Step
from harmony_core.host import dying_with

Result = dict[str, Any]
# What every step of a small run imports.
_PRELOADED = ["harmony_core.evaluation.preload"]


def run(steps: Sequence[Step], setting: Setting, limit_seconds: float, report: Callable[[Result], None]) -> None:
    """Runs every step, whatever becomes of the others.

    Args:
        steps: in this order.
        setting: where, and at which shapes.
        limit_seconds: for all of them together.
        report: told of each step that is over.
    """
    begin = time.monotonic()
    before: dict[str, list[Row]] = {}
    for step in steps:
        left = limit_seconds - (time.monotonic() - begin)
        if left < LEAST_SECONDS:
            result = _result(step, "skipped", [], 0.0, f"{max(left, 0.0):.0f} s of {limit_seconds:g} s were left")
        else:
            result = _run_one(step, setting, before, min(step.seconds, left))
        before[step.name] = result["rows"]
        report(result)


def _run_one(step: Step, setting: Setting, before: Before, seconds: float) -> Result:
    # A process that begins from nothing holds no device of another one's. Without devices a fork is enough.
    forks, spawns = multiprocessing.get_context("forkserver"), multiprocessing.get_context("spawn")
    forks.set_forkserver_preload(_PRELOADED)
    start = forks.Process if setting.small else spawns.Process
    begin = time.monotonic()
    # What the step has written is gone with this folder, even where the step was killed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "rows.jsonl"
        process = start(target=_work, args=(step.rows, setting, dict(before), log))
        process.start()
        try:
            process.join(seconds)
            late = process.is_alive()
        finally:
            _end(process)
        rows, error = _read(log)
    took = time.monotonic() - begin
    if late:
        return _result(step, "cut short", rows, took, f"ended after {seconds:.0f} s; {len(rows)} rows were measured")
    if error is None and process.exitcode != 0:
        error = f"the process died with exit code {process.exitcode}; standard error may say of what"
    return _result(step, "done" if error is None else "failed", rows, took, error)


def _result(step: Step, status: str, rows: list[Row], seconds: float, error: str | None) -> Result:
    figures = {"status": status, "seconds": round(seconds, 1), "limit_seconds": step.seconds, "error": error}
    return {"name": step.name, "title": step.title, **figures, "rows": rows}


def _work(rows: str, setting: Setting, before: Before, log: Path) -> None:
    """What a step's process does; it leads a group, so that all it starts can be ended with it."""
    os.setsid()
    if (die := dying_with(os.getppid())) is not None:
        die()
    tempfile.tempdir = str(log.parent)
    module, function = rows.split(":")
    with log.open("a", encoding="utf-8") as file:
        try:
            for row in getattr(importlib.import_module(module), function)(setting, before):
                _write(file, {"row": plain(row)})
        except Exception as error:
            traceback.print_exc()
            _write(file, {"error": said(error)})


def _write(file: Any, line: dict[str, Any]) -> None:
    file.write(json.dumps(line) + "\n")
    file.flush()


def _read(log: Path) -> tuple[list[Row], str | None]:
    """The rows that were written whole, and what ended the step."""
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    errors = [line["error"] for line in lines if "error" in line]
    return [line["row"] for line in lines if "row" in line], errors[-1] if errors else None


def _end(process: BaseProcess) -> None:
    """Ends a step's process with all that it started; one that is over may have left some behind."""
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        # It is over, or was not yet the leader of a group.
        process.kill()
    process.join()
