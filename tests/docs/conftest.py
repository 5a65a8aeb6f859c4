"""The search that stands for the demo's in whatever the documentation tells its reader to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.workflow.conftest import made_once, search, write_config

# Its name, where the pages have `nano`.
NAME = "tiny"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny search of tests/workflow, which all workers of a run share, copied."""

    def run(folder: Path) -> None:
        done = search(folder, write_config(folder))
        assert done.returncode == 0, done.stdout + done.stderr

    finished = made_once(tmp_path_factory, "finished", run)
    root = tmp_path_factory.mktemp("reader")
    for name in ("results", "data"):
        shutil.copytree(finished / name, root / name)
    shutil.copytree(ROOT / "config", root / "config")
    (root / "texts").mkdir()
    (root / "texts" / "one.txt").write_text("To be, or not to be.\n" * 400)
    return root
