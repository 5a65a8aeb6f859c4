"""`make test`: the tests on Slurm beside the others, both outputs whole, both exit codes, and a Ctrl-C for all."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
# In place of the environment's python: says which tests it is asked for, and fails where it is told to.
PYTHON = """#!/bin/sh
here=$(dirname "$0")
case "$*" in *tests/slurm/*) run=slurm ;; *tests/kernels*) run=kernels ;; *) run=rooms ;; esac
echo "$run begins"
{meeting}
echo "$run ends"
[ "$run" != {failing} ]
"""
# Either waits for the other one.
MEETING = """
case $run in slurm) echo here > "$here/meeting" ;; rooms) read word < "$here/meeting" ;; esac
"""
# Waits by `wait`, which a trap ends: a signal that comes while a shell starts a child in front is lost on the child.
STAYING = """
trap 'touch "$here/$run.left"; kill $!; exit 130' INT
sleep infinity &
touch "$here/$run.begun"
wait
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The `bin` of an environment in which all is installed."""
    for once in (".installed", ".references", ".axe", ".docs"):
        (tmp_path / once).touch()
    (tmp_path / "bin").mkdir()
    os.mkfifo(tmp_path / "bin" / "meeting")
    return tmp_path / "bin"


def call(folder: Path, meeting: str, failing: str = "none") -> list[str]:
    (folder / "python").write_text(PYTHON.format(meeting=meeting, failing=failing))
    (folder / "python").chmod(0o755)
    return ["make", "-C", str(ROOT), "test", f"VENV={folder.parent}"]


@pytest.mark.parametrize("failing", ["none", "rooms", "kernels", "slurm"])
def test_both_run_at_once_and_either_may_fail(folder: Path, failing: str) -> None:
    done = subprocess.run(call(folder, MEETING, failing), capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode == 0) == (failing == "none"), done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if line.endswith((" begins", " ends"))]
    assert said == [f"{run} {what}" for run in ("rooms", "kernels", "slurm") for what in ("begins", "ends")]


def test_ctrl_c_reaches_both(folder: Path) -> None:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(call(folder, STAYING), stdout=quiet, stderr=quiet, start_new_session=True)
    wait_until(lambda: (folder / "slurm.begun").exists() and (folder / "rooms.begun").exists())
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=PATIENCE) != 0
    wait_until(lambda: (folder / "slurm.left").exists() and (folder / "rooms.left").exists())
    assert not (folder / "kernels.begun").exists()
