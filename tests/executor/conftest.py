"""Fixtures of the executor plugin's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.backend import Work
from snakemake_executor_plugin_submitit.folder import Folder
from tests.executor.workflow import Workflow


@pytest.fixture
def workflow(tmp_path: Path) -> Iterator[Workflow]:
    """A workflow whose jobs are processes of this machine."""
    one = Workflow(tmp_path / "workflow", "local")
    yield one
    one.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An executor's folder."""
    made = Folder(tmp_path / "submitit")
    made.make()
    return made


class Works:
    """Makes works that differ in their key and command."""

    def __init__(self, cwd: Path) -> None:
        self._cwd = cwd

    def __call__(self, key: str = "target-content", command: str = "true", attempt: int = 1, **resources: int) -> Work:
        return Work(
            key=key,
            rule="one",
            name=f"one.{key}",
            command=command,
            cwd=str(self._cwd),
            resources=resources,
            attempt=attempt,
        )


@pytest.fixture
def work(tmp_path: Path) -> Works:
    """Makes works."""
    return Works(tmp_path)
