"""Ctrl-C, SIGTERM and a closed terminal: one last line that says what is done and how to go on, and no traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.logger.test_snakemake import command, environment
from tests.waiting import PATIENCE, wait_until

# The second generation waits for a signal, and ends by it as Python does, with a traceback in its log.
WAITING = """
import sys
from harmony_core import stopping

rule all:
    input: "results/toy/generation=001/selection.parquet"

rule generation:
    input: lambda wildcards: [] if wildcards.generation == "000" else "results/toy/generation=000/selection.parquet"
    output: "results/toy/generation={generation}/selection.parquet"
    log: "generation={generation}.log"
    retries: 1
    shell: "{sys.executable} -m tests.logger.made_up_step {wildcards.generation} --stop --from 1 --loud > {log} 2>&1"

onstart:
    stopping.hear_termination()
"""
BEGUN = "results/toy/generation=001/population.parquet"
DONE = "1 generation and 8 trainings done; `harmony resume toy` goes on"


def stopped(
    folder: Path, snakefile: str, begun: str, number: signal.Signals, *, group: bool = True, quiet: str = "rules"
) -> tuple[list[str], int]:
    """What Snakemake says, in a process group of its own, and its exit code, told to stop once `begun` is there."""
    (folder / "Snakefile").write_text(snakefile)
    with (folder / "said.txt").open("wb") as said:
        streams = {"stdout": said, "stderr": said}
        # Under nohup, which these tests may run under, a hangup is ignored by whatever is started.
        call = ["env", "--default-signal=HUP", *command("--quiet", quiet, "--keep-going")]
        process = subprocess.Popen(call, cwd=folder, env=environment(), start_new_session=True, **streams)
        try:
            wait_until(lambda: (folder / begun).exists() or process.poll() is not None)
            assert process.poll() is None, (folder / "said.txt").read_text()
            (os.killpg if group else os.kill)(process.pid, number)
            code = process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return (folder / "said.txt").read_text().splitlines(), code


def check(said: list[str]) -> None:
    text = "\n".join(said)
    assert "Traceback" not in text
    assert "failed" not in "\n".join(line for line in said if not line.startswith("generation"))
    assert "Error" not in text


@pytest.mark.parametrize("attempt", range(3))
def test_ctrl_c_says_what_is_done_and_how_to_go_on(tmp_path: Path, attempt: int) -> None:
    said, code = stopped(tmp_path, WAITING, BEGUN, signal.SIGINT)
    check(said)
    assert code in (1, 130)
    assert [line for line in said if line][-1] == f"stopped by Ctrl-C: {DONE}"
    assert "KeyboardInterrupt" in (tmp_path / "generation=001.log").read_text()


@pytest.mark.parametrize("quiet", ["all", "progress"])
def test_the_last_line_is_said_however_quiet(tmp_path: Path, quiet: str) -> None:
    said, _ = stopped(tmp_path, WAITING, BEGUN, signal.SIGINT, quiet=quiet)
    check(said)
    assert f"stopped by Ctrl-C: {DONE}" in said


def test_a_closed_terminal_ends_it_as_before_but_not_without_a_word(tmp_path: Path) -> None:
    said, code = stopped(tmp_path, WAITING, BEGUN, signal.SIGHUP)
    check(said)
    assert code == -signal.SIGHUP
    assert f"stopped: the terminal was closed (SIGHUP): {DONE}" in said


def test_sigterm_to_all_of_it(tmp_path: Path) -> None:
    said, code = stopped(tmp_path, WAITING, BEGUN, signal.SIGTERM)
    check(said)
    assert code == 1
    assert f"stopped by SIGTERM: {DONE}" in said


def test_sigterm_to_snakemake_alone_lets_what_runs_end_first(tmp_path: Path) -> None:
    step = "{sys.executable} -m tests.logger.made_up_step {wildcards.generation}"
    held = f"{step}; touch waiting; until test -e go; do sleep 0.1; done"
    (tmp_path / "Snakefile").write_text(WAITING.replace(f"{step} --stop --from 1 --loud > {{log}} 2>&1", held))
    said = tmp_path / "said.txt"
    with said.open("wb") as file:
        streams = {"stdout": file, "stderr": file}
        process = subprocess.Popen(command(), cwd=tmp_path, env=environment(), start_new_session=True, **streams)
        try:
            wait_until((tmp_path / "waiting").exists)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Will exit after" in said.read_text())
            (tmp_path / "go").touch()
            assert process.wait(PATIENCE) == 1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    check(said.read_text().splitlines())
    assert f"stopped by SIGTERM: {DONE}" in said.read_text().splitlines()


def test_ctrl_c_before_anything_began(tmp_path: Path) -> None:
    snakefile = "import pathlib, time\npathlib.Path('parsed').touch()\nwhile True: time.sleep(0.05)\n" + WAITING
    said, code = stopped(tmp_path, snakefile, "parsed", signal.SIGINT)
    check(said)
    assert code == 130
    assert [line for line in said if line] == ["stopped by Ctrl-C; nothing was begun"]


def test_what_failed_before_is_still_told(tmp_path: Path) -> None:
    bad = 'rule bad:\n    output: "bad"\n    shell: "exit 7"\n\nonstart:'
    snakefile = WAITING.replace("onstart:", bad).replace('input: "results', 'input: "bad", "results')
    said, _ = stopped(tmp_path, snakefile, BEGUN, signal.SIGINT, quiet="progress")
    assert "rule bad failed: exit status 7" in said
    assert f"stopped by Ctrl-C: {DONE}" in said
