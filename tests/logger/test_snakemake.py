"""`snakemake --logger harmony`, run for real: what is on the screen and what is not."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_watch import own_terminal, read_until
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
QUIET = ("--quiet", "rules", "progress", "host", "reason")

FAILING = """
rule all:
    input: "a/1.txt", "b/2.txt"

rule good:
    output: "a/{number}.txt"
    shell: "touch {output}"

rule bad:
    output: "b/{number}.txt"
    log: "logs/{number}.log"
    shell: "{{ echo begun; echo 'error: data: [red]bad[/red]'; }} > {log}; exit 3"
"""

FOLLOWED = """
rule all:
    input: "results/toy/generation=001/selection.parquet"

rule generation:
    input: lambda wildcards: [] if wildcards.generation == "000" else "results/toy/generation=000/selection.parquet"
    output: "results/toy/generation={generation}/selection.parquet"
    shell: "{sys.executable} -m tests.logger.made_up_step {wildcards.generation}"
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "2", "--logger", "harmony", *arguments]


def snakemake(folder: Path, snakefile: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "Snakefile").write_text("import sys\n" + snakefile)
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment(),
        timeout=PATIENCE,
    )


def environment() -> dict[str, str]:
    # Snakemake tells some things in the order of a set.
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "TERM": "xterm"}


@pytest.mark.parametrize("quiet", [(), QUIET, ("--quiet", "all")])
def test_a_failed_job_is_told_in_full_whatever_is_quiet(tmp_path: Path, quiet: tuple[str, ...]) -> None:
    done = snakemake(tmp_path, FAILING, *quiet)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    begin = lines.index("rule bad failed: number=2, exit status 3")
    assert lines[begin + 1].startswith("    command: { echo begun;")
    assert lines[begin + 2 : begin + 5] == ["    log: logs/2.log", "begun", "error: data: [red]bad[/red]"]
    assert done.stderr.count("exit status 3") == 1
    assert "At least one job did not complete successfully" in done.stderr


def test_a_failure_without_an_exit_is_told_in_full(tmp_path: Path) -> None:
    snakefile = 'rule all:\n    output: "made.txt"\n    shell: "true"\n'
    done = snakemake(tmp_path, snakefile, "--latency-wait", "0", *QUIET)
    assert done.returncode == 1
    assert "MissingOutputException in rule all" in done.stderr
    assert "made.txt" in done.stderr


def test_every_attempt_is_told(tmp_path: Path) -> None:
    done = snakemake(tmp_path, FAILING, "--retries", "1")
    assert done.stderr.count("rule bad failed: number=2, exit status 3") == 2


def test_what_nobody_reads_twice_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    done = snakemake(tmp_path, FAILING.replace("exit 3", "touch {output}"))
    assert done.returncode == 0, done.stderr
    for chatter in ("Building DAG", "Job stats", "rule good:", "Finished jobid", "steps", "Select jobs", "Using shell"):
        assert chatter not in done.stderr
    (tmp_path / "a" / "1.txt").unlink()
    done = snakemake(tmp_path, FAILING.replace("exit 3", "touch {output}"), "--printshellcmds")
    assert "touch a/1.txt\n" in done.stderr
    (tmp_path / "a" / "1.txt").unlink()
    done = snakemake(tmp_path, FAILING.replace("exit 3", "touch {output}"), "--verbose")
    assert "Building DAG" in done.stderr


def test_what_is_not_known_to_be_chatter_is_shown(tmp_path: Path) -> None:
    assert "Nothing to be done" in snakemake(tmp_path, 'rule all:\n    input: "Snakefile"\n').stderr


def test_a_dry_run_is_told_as_snakemake_tells_it(tmp_path: Path) -> None:
    ours = snakemake(tmp_path, FAILING, "-n")
    plain = [sys.executable, "-m", "snakemake", "--cores", "2", "-n"]
    theirs = subprocess.run(plain, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment())
    assert "rule bad:" in ours.stdout
    assert without_times(ours) == without_times(theirs)


def without_times(done: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r"(\[\w{3} \w{3} .*\d{4}\])|(  Date: .*)|(Workflow ID: .*)|(Command: .*)", "", done.stdout)


def test_a_search_is_followed_a_line_a_generation_and_failures_as_they_come(tmp_path: Path) -> None:
    done = snakemake(tmp_path, FOLLOWED, *("--quiet", "rules", "host", "reason"))
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("search toy: seed 1")
    for generation in range(2):
        (told,) = (line for line in lines if line.startswith(f"generation {generation}:"))
        assert told.startswith(f"generation {generation}: 7 evaluated, 1 failed, best ")
        (failed,) = (line for line in lines if line.startswith(f"generation {generation}, candidate 2 "))
        assert failed.endswith("training diverged: loss is nan")
    assert "ETA" not in done.stderr


@pytest.mark.parametrize("quiet", ["all", "progress"])
def test_progress_can_be_silenced(tmp_path: Path, quiet: str) -> None:
    done = snakemake(tmp_path, FOLLOWED, "--quiet", quiet)
    assert done.returncode == 0, done.stderr
    assert "generation 0" not in done.stderr


def test_files_that_cannot_be_read_are_told_once_and_the_run_goes_on(tmp_path: Path) -> None:
    manifest = tmp_path / "results" / "toy" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{")
    done = snakemake(tmp_path, FOLLOWED.replace("-m tests.logger.made_up_step", "-m tests.logger.made_up_step --keep"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("progress: ") == 1
    assert "manifest.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_terminal_the_region_is_gone_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("import sys\n" + FOLLOWED)
    shown, returncode = on_a_terminal(tmp_path, until="generation 1: 7 evaluated")
    assert returncode == 0
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0
    assert "generation 0: 7 evaluated" in shown


def test_ctrl_c_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    stuck = FOLLOWED.replace("{wildcards.generation}", "{wildcards.generation} --stop")
    (tmp_path / "Snakefile").write_text("import sys\n" + stuck)
    shown, returncode = on_a_terminal(tmp_path, until="generation 0: 0/8 done", interrupt=True)
    assert returncode != 0
    assert "\x1b[?25h" in shown.rpartition("\x1b[?25l")[2]
    assert "Traceback" not in shown


def on_a_terminal(folder: Path, until: str, interrupt: bool = False) -> tuple[str, int]:
    """What is shown on a terminal of its own, and the exit code; Ctrl-C once `until` is shown."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        command("--quiet", "rules", "host", "reason"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment(),
        preexec_fn=own_terminal,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, until)
        if interrupt:
            os.killpg(process.pid, signal.SIGINT)
        shown += read_until(ours, None)
        return shown, process.wait(PATIENCE)
    finally:
        # It leads its session: whatever of it is left ends with the test.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)
