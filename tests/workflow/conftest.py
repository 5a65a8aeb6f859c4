"""Runs real searches: Snakemake, DeepSpeed, Parquet; synthetic text and predicted latency make them repeatable."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harmony_core.workers.lock import exclusive

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "workflow" / "tiny.yaml"

Completed = subprocess.CompletedProcess[str]


def write_config(folder: Path, **changes: dict[str, Any]) -> Path:
    """The tiny configuration with some sections' keys changed, in `folder`."""
    config = yaml.safe_load(TINY.read_text())
    config["space"] = str(ROOT / config["space"])
    for section, values in changes.items():
        config[section] = {**config.get(section, {}), **values}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def command(folder: Path, config: Path, *arguments: str) -> list[str]:
    """The command line of a search in `folder`."""
    snakemake = [sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles" / "local")]
    place = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(config)]
    return [*snakemake, *place, *arguments]


def search(folder: Path, config: Path, *arguments: str) -> Completed:
    """Runs a search to its end, good or bad."""
    return subprocess.run(command(folder, config, *arguments), capture_output=True, text=True, check=False, cwd=ROOT)


def harmony(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Completed:
    """Runs the `harmony` command in `folder`."""
    call = [sys.executable, "-m", "harmony_core", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder, env=env)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of this run's workers to ask for it makes and fills; all workers share it."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    with exclusive(folder / "lock"):
        if not (folder / "done").exists():
            make(folder)
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny search has run undisturbed; the workers of one run share it, and change nothing."""

    def run(folder: Path) -> None:
        done = search(folder, write_config(folder))
        assert done.returncode == 0, done.stdout + done.stderr

    return made_once(tmp_path_factory, "finished", run)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a search's folder, so that a test may damage it."""

    def copy(folder: Path) -> Path:
        import shutil

        return Path(shutil.copytree(folder, tmp_path / "copy"))

    return copy
