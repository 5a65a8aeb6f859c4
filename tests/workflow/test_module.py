"""The workflow as a module of somebody's own Snakefile, as docs/python.md has it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from harmony_core.store import SearchFolder
from harmony_core.workflow import main_lease
from tests.workflow.conftest import ROOT, write_config

PAGE = (ROOT / "docs" / "python.md").read_text()
(SNAKEFILE,) = re.findall(r"```python\n(from harmony_core\.resources.*?)```", PAGE, re.DOTALL)
POPULATION = "results/tiny/generation=000/population.parquet"


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles" / "local"), *arguments]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)


def test_its_rules_run_in_another_workflow_which_resume_would_start(tmp_path: Path) -> None:
    config = write_config(tmp_path, promote={"top_k": 0, "baselines": []})
    config.write_text(config.read_text() + "evaluators: [training, latency, mad]\n")
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    planned = snakemake(tmp_path, "--dry-run")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    for rule in ("harmony_train", "harmony_evaluate_mad", "harmony_report", "table"):
        assert re.search(rf"^{rule} +[12]$", planned.stdout + planned.stderr, flags=re.MULTILINE)
    # This far it needs no training.
    done = snakemake(tmp_path, POPULATION)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / POPULATION).is_file()
    folder = SearchFolder(tmp_path / "results" / "tiny")
    assert json.loads(folder.main.read_text())["arguments"][-1] == POPULATION
    assert main_lease(folder).holder() is None


def test_a_mistake_is_a_line(tmp_path: Path) -> None:
    write_config(tmp_path, search={"generations": 0})
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    done = snakemake(tmp_path, "--dry-run")
    assert done.returncode == 2
    assert "error: config.search.generations: 0: " in done.stderr
    assert "Traceback" not in done.stderr
