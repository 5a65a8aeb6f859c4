"""Whole Snakemake runs whose jobs run one after the other in Snakemake's own process."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.executor.workflow import Workflow

RULE = "rule one:\n    output: 'out/{{i}}'\n    shell: {!r}\n"
THREE = 'expand("out/{i}", i=range(3))'


def test_one_after_the_other(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow", "debug")
    command = "mkdir lock && sleep 0.3 && rmdir lock && touch {output}"
    workflow.write(RULE.format(command), targets=THREE)
    code, output = workflow.run()
    assert code == 0, output
    assert workflow.attempts() == 3


def test_failures_are_told_as_elsewhere(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow", "debug")
    workflow.write(RULE.format("echo about to fail; exit 3"), targets=THREE)
    code, output = workflow.run("--keep-going")
    assert code == 1
    assert output.count("exit code 3 on ") == 3
    assert "about to fail" in output


def test_an_interrupted_one_leaves_no_process(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow", "debug")
    workflow.write(RULE.format("touch begun; sleep infinity"), targets=THREE)
    main = workflow.start()
    workflow.wait_for_files("begun")
    main.send_signal(signal.SIGINT)
    code, output = workflow.wait(main)
    assert code == 1, output
    assert workflow.processes() == []
    workflow.stop()
