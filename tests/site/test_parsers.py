"""Whatever Slurm's commands print at a site, the doctor understands it or passes it over, and says how much."""

from __future__ import annotations

import json
from pathlib import Path

from harmony_core.site.node_report import ANSWER
from harmony_core.site.probe import parse_report
from harmony_core.site.setup_script import SetupScript
from harmony_core.slurm.client import Slurm, parse_node, parse_partition
from harmony_core.slurm.command import Answer, run
from tests.executor.rubbish import rubbish
from tests.site.fakes import NODES, PARTITIONS, fake_slurm

REPORT = {
    "node": "n1",
    "time": 50.0,
    "python": "python",
    "versions": {"torch": "2"},
    "devices": 1,
    "unset": ["A"],
    "fork": {"device": "cpu"},
}


def as_text(answer: bytes) -> str:
    """As `run` gives it."""
    return answer.decode(errors="replace")


def test_scontrol() -> None:
    for answer in rubbish(*PARTITIONS.splitlines()):
        found = parse_partition(as_text(answer))
        assert found is None or (found.name.isprintable() and found.state.isprintable())


def test_sinfo() -> None:
    for answer in rubbish(*NODES.splitlines()):
        found = parse_node(as_text(answer))
        assert found is None or (found.name.isprintable() and found.cpus >= 0 and found.gpus >= 0)


def test_what_cannot_be_read_is_counted() -> None:
    slurm = Slurm(
        fake_slurm(**{"sinfo --noheader --Node": Answer(0, f"caf\N{REPLACEMENT CHARACTER}|x\n{NODES}n9|many|")})
    )
    assert len(slurm.nodes("batch")) == 4
    assert slurm.unreadable == {"sinfo": 2}


def test_bytes_that_are_no_text_and_escapes_reach_nobody(tmp_path: Path) -> None:
    script = tmp_path / "sinfo"
    script.write_bytes(b"#!/bin/bash\nprintf 'caf\\xe9 \\x1b[2J gone\\n' >&2\nexit 1\n")
    script.chmod(0o755)
    answer = run([str(script)])
    assert answer.code == 1
    assert answer.reason.isprintable()
    assert "gone" in answer.reason


def test_reports_of_a_node() -> None:
    for content in rubbish(json.dumps(REPORT)):
        report = parse_report(content)
        assert report is None or report.keys() >= REPORT.keys()
    assert parse_report(json.dumps(REPORT).encode()) == REPORT
    assert ANSWER.endswith(".json")


def test_setup_scripts(tmp_path: Path) -> None:
    sourced = tmp_path / "setup.sh"
    for index, lines in enumerate(rubbish(f"source '{sourced}'\nmodule load cuda/12 gcc\nexport A=1", number=1000)):
        sourced.write_bytes(lines if index % 2 else b"module load caf\xe9\nmodule load known\n")
        found = SetupScript.read(as_text(lines))
        assert all(isinstance(name, str) for name in found.modules)
    sourced.write_bytes(b"# caf\xe9\nmodule load known\n")
    assert SetupScript.read(f"source {sourced}").modules == ["known"]
