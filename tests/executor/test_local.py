"""Whole Snakemake runs whose jobs are processes of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest
import yaml

from tests.executor.workflow import Workflow
from tests.waiting import wait_until

TWO = 'expand("out/{i}", i=range(2))'
# Each run of a job leaves a line in runs/, so that a second run is seen.
COUNTED = "mkdir -p runs; echo begin >> runs/{wildcards.i}"


def rule(command: str, name: str = "one", output: str = "out/{i}", more: str = "") -> str:
    return f"rule {name}:\n    output: {output!r}\n    {more}\n    shell: {command!r}\n"


def test_shell_rules_run_directly_and_the_others_in_a_snakemake(workflow: Workflow) -> None:
    workflow.write(
        rule("echo $OMP_NUM_THREADS $(tr '\\0' ' ' < /proc/$PPID/cmdline) > {output}", more="threads: 3"),
        rule("tr '\\0' ' ' < /proc/$PPID/cmdline > {output}", "timed", "timed", 'benchmark: "timed.tsv"'),
        "rule python:\n    output: 'python'\n    run:\n        open(output[0], 'w').write(str(threads))\n",
        targets=f'{TWO}, "timed", "python"',
    )
    code, output = workflow.run()
    assert code == 0, output
    assert "submitit.core._submit" in workflow.read("out/0")
    assert workflow.read("out/1").startswith("3 ")
    assert "snakemake" in workflow.read("timed")
    assert workflow.read("python") == "1"
    assert sorted(path.name for path in workflow.root.iterdir()) == sorted(
        [".snakemake", "Snakefile", "out", "python", "timed", "timed.tsv"]
    )


def test_direct_can_be_switched_off_by_a_profile(workflow: Workflow) -> None:
    workflow.write(rule("tr '\\0' ' ' < /proc/$PPID/cmdline > {output}"), targets=TWO)
    (workflow.root / "profile").mkdir()
    (workflow.root / "profile" / "config.yaml").write_text("submitit-direct: false\nsubmitit-pilot-chain: true\n")
    code, output = workflow.run("--profile", "profile")
    assert code == 0, output
    assert "snakemake" in workflow.read("out/0")


def test_setup_runs_before_the_command(workflow: Workflow) -> None:
    workflow.write(rule("echo $GREETING > {output}"), targets=TWO)
    code, output = workflow.run("--submitit-setup", "export GREETING=hello\nset +u")
    assert code == 0, output
    assert workflow.read("out/1") == "hello"


def test_failure_is_reported_with_code_log_and_its_tail(workflow: Workflow) -> None:
    workflow.write(rule("echo about to fail; (exit 3) && touch {output}"), targets=TWO)
    code, output = workflow.run("--keep-going")
    assert code == 1
    assert output.count("exit code 3 on ") == 2
    logs = sorted((workflow.root / ".snakemake" / "submitit" / "logs").iterdir())
    assert len(logs) == 2
    assert all(f"log {path}, which ends with:\n" in output for path in logs)
    assert output.count("about to fail\n") >= 2


def test_retries_are_new_attempts(workflow: Workflow) -> None:
    workflow.write(rule(f"{COUNTED}; test $(wc -l < runs/{{wildcards.i}}) = 2 && touch {{output}}"), targets=TWO)
    code, output = workflow.run("--retries", "1")
    assert code == 0, output
    assert workflow.attempts() == 4


def test_a_job_that_vanishes_is_a_failure(workflow: Workflow) -> None:
    workflow.write(rule("touch begun; sleep infinity"), targets='"out/0"')
    main = workflow.start()
    workflow.wait_for_files("begun")
    for process in workflow.processes():
        if process.pid != main.pid:
            # A child may end with its parent.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    code, output = workflow.wait(main)
    assert code == 1
    assert "its process is gone" in output
    assert workflow.processes() == []


def test_exit_code_75_is_submitted_again_and_no_failure(workflow: Workflow) -> None:
    workflow.write(
        rule(f"{COUNTED}; test $(wc -l < runs/{{wildcards.i}}) = 3 || exit 75; cp runs/{{wildcards.i}} {{output}}"),
        targets=TWO,
    )
    code, output = workflow.run()
    assert code == 0, output
    assert workflow.attempts() == 6
    assert "Error" not in output


def test_exit_code_75_too_often_is_a_failure(workflow: Workflow) -> None:
    workflow.write(rule("exit 75"), targets='"out/0"')
    code, output = workflow.run("--submitit-resubmissions", "2")
    assert code == 1
    assert "exit code 75 in its last of 3 submissions" in output
    assert workflow.attempts() == 3


def test_a_killed_snakemake_finds_its_running_jobs_again(workflow: Workflow) -> None:
    workflow.write(rule(f"{COUNTED}; until test -e go; do sleep 0.1; done; touch {{output}}"), targets=TWO)
    main = workflow.start()
    workflow.wait_for_files("runs/0", "runs/1")
    workflow.kill(main)
    again = workflow.start()
    wait_until(lambda: "submitted by an earlier Snakemake process" in workflow.said(again))
    (workflow.root / "go").touch()
    code, output = workflow.wait(again)
    assert code == 0, output
    assert workflow.attempts() == 2
    assert [workflow.read(f"runs/{i}") for i in range(2)] == ["begin"] * 2


def test_a_result_that_came_meanwhile_is_taken_once(workflow: Workflow) -> None:
    workflow.write(rule(f"{COUNTED}; until test -e go; do sleep 0.1; done; touch {{output}}"), targets=TWO)
    main = workflow.start()
    workflow.wait_for_files("runs/0", "runs/1")
    workflow.kill(main)
    (workflow.root / "go").touch()
    wait_until(lambda: not workflow.processes())
    code, output = workflow.run()
    assert code == 0, output
    assert output.count("not run again") == 2
    assert workflow.attempts() == 2
    # From now on it is Snakemake's to say what has to run.
    code, output = workflow.run("--forceall")
    assert code == 0, output
    assert workflow.attempts() == 4


def test_what_a_plain_snakemake_needs_after_a_kill_is_said_at_the_start(workflow: Workflow) -> None:
    """Snakemake itself refuses half-written outputs before any executor is asked."""
    workflow.flags = ()
    command = f"{COUNTED}; echo half > {{output}}; until test -e go; do sleep 0.1; done; echo all > {{output}}"
    workflow.write(rule(command), targets=TWO)
    main = workflow.start()
    workflow.wait_for_files("out/0", "out/1")
    said = "the next one takes their results if it is started with --rerun-incomplete, and refuses to run without"
    assert workflow.said(main).count(said) == 1
    workflow.kill(main)
    (workflow.root / "go").touch()
    wait_until(lambda: not workflow.processes())
    code, output = workflow.run()
    assert code == 1
    assert "rerun your command with the --rerun-incomplete flag" in output
    code, output = workflow.run("--rerun-incomplete")
    assert code == 0, output
    assert said not in output
    assert [workflow.read(f"runs/{i}") for i in range(2)] == ["begin"] * 2


@pytest.mark.parametrize("profile", ["slurm", "frontier", "local"])
def test_every_profile_takes_up_what_a_kill_left(profile: str) -> None:
    settings = yaml.safe_load((Path(__file__).parents[2] / "profiles" / profile / "config.yaml").read_text())
    assert settings["rerun-incomplete"] is True


def test_a_refused_group_is_told_why(workflow: Workflow) -> None:
    group = "group: 'g'\n    resources: nodes=2"
    workflow.write(
        rule("touch {output}", "first", "first", group),
        rule("touch {output}", "second", "second", f"input: 'first'\n    {group}"),
        targets='"second"',
    )
    code, output = workflow.run()
    assert code == 1
    assert "resource nodes=2: the local cluster is this one machine; use 1" in output


def test_a_result_without_its_output_is_not_taken(workflow: Workflow) -> None:
    workflow.write(rule(f"{COUNTED}; until test -e go; do sleep 0.1; done; touch {{output}}"), targets=TWO)
    main = workflow.start()
    workflow.wait_for_files("runs/0", "runs/1")
    workflow.kill(main)
    (workflow.root / "go").touch()
    wait_until(lambda: not workflow.processes())
    (workflow.root / "out" / "0").unlink()
    code, output = workflow.run()
    assert code == 0, output
    assert workflow.attempts() == 3


@pytest.mark.parametrize("change", ["command", "input"])
def test_a_changed_job_takes_no_old_result_and_has_no_rival(workflow: Workflow, change: str) -> None:
    def write(word: str) -> None:
        waits = "until test -e go; do sleep 0.1 || true; done"
        command = f"{COUNTED}; trap 'sleep 1 || true; echo end >> runs/{{wildcards.i}}; exit 1' TERM; {waits}; "
        workflow.write(rule(f"{command} cat {{input}} > {{output}}; echo {word}", more="input: 'source'"), targets=TWO)

    (workflow.root / "source").write_text("old")
    write("first")
    main = workflow.start()
    workflow.wait_for_files("runs/0", "runs/1")
    workflow.kill(main)
    if change == "command":
        write("second")
    else:
        (workflow.root / "source").write_text("new")
    again = workflow.start()
    wait_until(lambda: workflow.read("runs/0").count("begin") == 2)
    (workflow.root / "go").touch()
    code, output = workflow.wait(again)
    assert code == 0, output
    # The first one had ended before the second one began.
    assert workflow.read("runs/0").split() == ["begin", "end", "begin"]
    assert workflow.read("out/0") == ("old" if change == "command" else "new")


@pytest.mark.parametrize("to_all", [False, True], ids=["kill -INT", "Ctrl-C in a terminal"])
def test_an_interrupted_snakemake_leaves_no_process(workflow: Workflow, to_all: bool) -> None:
    workflow.write(rule("touch begun-{wildcards.i}; sleep infinity & sleep infinity"), targets=TWO)
    main = workflow.start()
    workflow.wait_for_files("begun-0", "begun-1")
    if to_all:
        os.killpg(main.pid, signal.SIGINT)
    else:
        main.send_signal(signal.SIGINT)
    code, output = workflow.wait(main)
    assert code == 1, output
    assert workflow.processes() == []


@pytest.mark.parametrize("removed", ["state", "journal.jsonl", "."])
def test_what_is_removed_under_running_jobs_is_told_and_costs_nothing(workflow: Workflow, removed: str) -> None:
    workflow.write(rule("touch begun; until test -e go; do sleep 0.1; done; touch {output}"), targets='"out/0"')
    main = workflow.start()
    workflow.wait_for_files("begun")
    folder = workflow.root / ".snakemake" / "submitit"
    if (folder / removed).is_dir():
        shutil.rmtree(folder / removed)
        wait_until((folder / "state").exists)
    else:
        (folder / removed).unlink()
    (workflow.root / "go").touch()
    code, output = workflow.wait(main)
    assert code == 0, output
    assert "removed while jobs are under way" in output
    assert workflow.attempts() == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--submitit-cluster", "lsf"), "--submitit-cluster lsf: unknown; use slurm, pilot, local or debug"),
        (("--submitit-folder", "Snakefile/x"), "--submitit-folder"),
        (("--set-resources", "one:nodes=2"), "resource nodes=2: the local cluster is this one machine; use 1"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(workflow: Workflow, arguments: tuple[str, ...], says: str) -> None:
    workflow.write(rule("touch {output}"), targets=TWO)
    code, output = workflow.run(*arguments)
    assert code == 1
    assert says in output
    assert "Traceback" not in output
    assert 'File "' not in output


def test_slurm_without_its_commands_is_an_error(workflow: Workflow, tmp_path: Path) -> None:
    workflow.cluster = "slurm"
    workflow.environment["PATH"] = str(tmp_path)
    workflow.write(rule("touch {output}"), targets=TWO)
    code, output = workflow.run()
    assert code == 1
    assert "--submitit-cluster slurm: not on PATH: sbatch, squeue, scancel, scontrol, srun" in output
    assert "Traceback" not in output
