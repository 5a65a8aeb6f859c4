"""Whole Snakemake runs in a standing allocation that is a process of this machine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.pilot_workflow import PilotWorkflow, read_until, rule
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def workflow(tmp_path: Path) -> Iterator[PilotWorkflow]:
    workflow = PilotWorkflow(tmp_path)
    yield workflow
    workflow.close()


def test_all_rules_share_one_allocation_which_is_given_back(workflow: PilotWorkflow) -> None:
    workflow.write(
        rule("first", "first.{i}", "echo $SNAKEMAKE_PILOT_FOLDER > {output}"),
        rule("second", "second", "cat {input} | sort -u > {output}", '    input: expand("first.{i}", i=range(5))\n'),
        targets='"second"',
    )
    code, output = workflow.run(companion="touch companion; sleep infinity")
    assert code == 0, output
    assert len((workflow.root / "second").read_text().splitlines()) == 1
    assert len(workflow.allocations()) == 1
    assert workflow.exists("companion")
    wait_until(lambda: not workflow.processes())
    assert "drained" in str(workflow.states())


def test_exit_code_75_and_retries_stay_in_the_allocation(workflow: PilotWorkflow) -> None:
    workflow.write(
        rule("again", "again", "if mkdir once; then exit 75; fi; touch {output}"),
        rule("retried", "retried", "if mkdir twice; then exit 1; fi; touch {output}", "    retries: 1\n"),
        targets='"again", "retried"',
    )
    code, output = workflow.run()
    assert code == 0, output
    assert len(workflow.allocations()) == 1


def test_a_failure_is_reported_with_its_words(workflow: PilotWorkflow) -> None:
    workflow.write(rule("a", "a", "echo the disk is on fire; exit 4"), targets='"a"')
    code, output = workflow.run()
    assert code == 1
    assert "exit code 4" in output
    assert "the disk is on fire" in output
    wait_until(lambda: not workflow.processes())


def test_a_killed_main_finds_its_allocation_and_jobs_again(workflow: PilotWorkflow) -> None:
    shell = "echo x >> starts.{wildcards.i}; until [ -e go ]; do sleep 0.05; done; touch {output}"
    workflow.write(
        rule("a", "a.{i}", shell),
        rule("b", "b", "touch {output}", '    input: "a.1", "a.2"\n'),
        targets='"b"',
    )
    main = workflow.start(companion="echo x >> companions; sleep infinity")
    wait_until(lambda: workflow.exists("starts.1", "starts.2", "companions"))
    workflow.kill(main)

    second = workflow.start(companion="echo x >> companions; sleep infinity")
    for _ in range(2):
        read_until(second, "submitted by an earlier Snakemake process; waiting for that")
    (workflow.root / "go").touch()

    output, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, output
    assert len(workflow.allocations()) == 1
    for name in ("starts.1", "starts.2", "companions"):
        assert (workflow.root / name).read_text() == "x\n"
    wait_until(lambda: not workflow.processes())


def test_what_ended_after_the_mains_death_is_not_run_again(workflow: PilotWorkflow) -> None:
    workflow.write(
        rule("a", "a", "echo x >> starts; until [ -e go ]; do sleep 0.05; done; touch {output}"),
        rule("b", "b", "touch {output}", '    input: "a"\n'),
        targets='"b"',
    )
    main = workflow.start(idle_seconds=1)
    wait_until(lambda: workflow.exists("starts"))
    workflow.kill(main)
    (workflow.root / "go").touch()
    # Nobody says that more will come: the allocation ends.
    wait_until(lambda: not workflow.processes())
    assert "idle" in str(workflow.states())

    code, output = workflow.run()
    assert code == 0, output
    assert (workflow.root / "starts").read_text() == "x\n"


def test_an_edited_command_takes_the_place_of_the_old_one(workflow: PilotWorkflow) -> None:
    workflow.write(rule("a", "a", "touch old; sleep infinity; touch {output}"), targets='"a"')
    main = workflow.start()
    wait_until(lambda: workflow.exists("old"))
    workflow.kill(main)
    workflow.write(rule("a", "a", "echo new > {output}"), targets='"a"')

    code, output = workflow.run()

    assert code == 0, output
    assert (workflow.root / "a").read_text() == "new\n"
    assert len(workflow.allocations()) == 1
    wait_until(lambda: not workflow.processes())


def test_an_interrupted_main_leaves_nothing(workflow: PilotWorkflow) -> None:
    workflow.write(rule("a", "a.{i}", "touch started.{wildcards.i}; sleep infinity"), targets='"a.1", "a.2"')
    main = workflow.start(companion="touch companion; sleep infinity")
    wait_until(lambda: workflow.exists("started.1", "started.2", "companion"))
    main.send_signal(signal.SIGINT)
    main.communicate(timeout=PATIENCE)
    assert main.returncode != 0
    assert not workflow.processes()


def test_an_allocation_that_dies_is_replaced(workflow: PilotWorkflow) -> None:
    workflow.write(
        rule("a", "a", "if mkdir once; then sleep infinity; fi; touch {output}"),
        rule("b", "b", "touch {output}"),
        targets='"a", "b"',
    )
    main = workflow.start()
    wait_until(lambda: workflow.exists("once", "b"))
    agents = [process for process in workflow.processes() if "submitit.core._submit" in process.cmdline()]
    agents[0].kill()
    output, _ = main.communicate(timeout=PATIENCE)
    assert main.returncode == 0, output
    assert len(workflow.allocations()) == 2


def test_allocations_that_end_in_vain_are_not_taken_for_ever(workflow: PilotWorkflow) -> None:
    workflow.write(rule("a", "a.{i}", "sleep infinity"), targets='"a.1", "a.2"')
    code, output = workflow.run("--keep-going", companion="echo no such fabric; exit 9")
    assert code == 1
    assert len(workflow.allocations()) == 3
    why = "3 standing allocations in a row ended before any job did; the last: companion: pilot_command failed twice"
    assert output.count(f"{why}, exit code 9: no such fabric") == 2
    wait_until(lambda: not workflow.processes())


def test_two_mains_in_one_folder_have_an_allocation_each(workflow: PilotWorkflow) -> None:
    shell = "echo $SNAKEMAKE_PILOT_FOLDER > {output}; until [ -e go ]; do sleep 0.05; done"
    workflow.write(rule("one", "one", shell), rule("two", "two", shell), targets='"one"')
    mains = [workflow.start("one"), workflow.start("two")]
    wait_until(lambda: workflow.exists("one", "two"))
    (workflow.root / "go").touch()
    for main in mains:
        output, _ = main.communicate(timeout=PATIENCE)
        assert main.returncode == 0, output
    assert (workflow.root / "one").read_text() != (workflow.root / "two").read_text()


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ("cluster=cloud", "cluster=cloud: use slurm or local"),
        ("cluster=local nodes", "write name=value"),
        ("cluster=local nodes=3", "resource nodes=3"),
    ],
)
def test_nonsense_for_an_allocation_is_said_in_one_line(workflow: PilotWorkflow, resources: str, words: str) -> None:
    workflow.write(rule("a", "a", "touch {output}"), targets='"a"')
    code, output = workflow.run("--submitit-pilot-resources", resources)
    assert code == 1
    assert any(words in line for line in output.splitlines()), output
    assert "Traceback" not in output
