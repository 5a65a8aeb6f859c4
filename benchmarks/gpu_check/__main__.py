"""`python -m benchmarks.gpu_check --out FILE`: runs every step, writes what each found as soon as it is over."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import benchmarks.gpu_check as package
from benchmarks.gpu_check.device import circumstances
from benchmarks.gpu_check.result import is_good, write
from benchmarks.gpu_check.row import tell
from benchmarks.gpu_check.run import Result, run
from benchmarks.gpu_check.settings import LIMIT_SECONDS, STEPS, Setting
from harmony_core.errors import UserError
from harmony_core.models.kernel_packages import WAIVED, absent
from harmony_core.models.triton_tuning import name_cache

_SMALL = "the CPU, at tiny shapes, to see that every step runs: no figure here is a GPU's, or means anything"
# Nothing is fetched, whatever a library would like to ask for.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
_NO_GPUS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=package.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the JSON that is written")
    parser.add_argument("--page", type=Path, help="an HTML page of it")
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in STEPS], help="these alone")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds in all")
    parser.add_argument("--small", action="store_true", help="every step on the CPU at tiny shapes; no GPU is needed")
    return parser


def main(given: Sequence[str] | None = None) -> int:
    """Runs what was asked for; 0 if all of it ran and is as it should be, 1 if not, 2 for bad input."""
    begin, asked = time.monotonic(), arguments().parse_args(given)
    command = shlex.join(["python", "-m", "benchmarks.gpu_check", *(sys.argv[1:] if given is None else given)])
    try:
        _check(asked)
        figures = _begun(asked, command)
    except UserError as error:
        print(error, file=sys.stderr)
        return UserError.EXIT_CODE
    os.environ.update(_ENVIRONMENT)
    if asked.small:
        os.environ.update(dict.fromkeys(_NO_GPUS, ""))
    else:
        # What is not installed is told, and the rest is measured.
        os.environ.setdefault(WAIVED, ",".join(absent()))
        name_cache()
    figures["plain_kernels"] = os.environ.get(WAIVED, "")
    steps = [step for step in STEPS if asked.steps is None or step.name in asked.steps]
    if figures["torch_note"]:
        tell(figures["torch_note"])

    def report(result: Result) -> None:
        figures["steps"].append(result)
        figures["seconds"] = round(time.monotonic() - begin, 1)
        write(figures, asked.out, asked.page)
        told = f"{result['name']}: {result['status']}, {len(result['rows'])} rows, {result['seconds']:g} s"
        tell(told if result["error"] is None else f"{told}: {result['error']}")

    run(steps, Setting(asked.small), asked.limit - (time.monotonic() - begin), report)
    return 0 if all(is_good(step) for step in figures["steps"]) else 1


def _begun(asked: argparse.Namespace, command: str) -> dict[str, Any]:
    """The result before the first step, written to see that it can be.

    Raises:
        UserError: it cannot.
    """
    figures = {
        "benchmark": "gpu_check",
        "small": asked.small,
        "measured_on": _SMALL if asked.small else "a GPU",
        "command": command,
        **circumstances(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "limit_seconds": asked.limit,
        "steps": [],
    }
    try:
        write(figures, asked.out, asked.page)
    except OSError as error:
        fix = f"cannot be written ({error.strerror}); name another file"
        raise UserError("--out, --page", error.filename, fix) from None
    return figures


def _check(asked: argparse.Namespace) -> None:
    """What must hold before anything runs."""
    from harmony_core.training.device import uses_gpu

    if not 1 <= asked.limit <= LIMIT_SECONDS:
        raise UserError("--limit", asked.limit, f"use 1 to {LIMIT_SECONDS:g} seconds")
    for name in ("out", "page"):
        path: Path | None = getattr(asked, name)
        if path is not None and path.is_dir():
            raise UserError(f"--{name}", path, "this is a folder; name a file")
    if not asked.small and not uses_gpu():
        fix = "run it on a machine with one and a torch that is built for it, or with --small on the CPU"
        raise UserError("GPU", "none that this process may use", fix)


if __name__ == "__main__":
    sys.exit(main())
