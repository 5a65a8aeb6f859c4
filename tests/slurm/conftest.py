"""A Slurm cluster for the tests, started once and put in order after each of them."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.packages import ACCOUNTING, SLURM, install
from tests.slurm.searches import SELECTION, TWO_NODES, Begin, RunningSearch, breed, command, copy_search
from tests.workflow.conftest import ROOT, made_once


def start(packages: dict[str, str], **description: Any) -> Iterator[Cluster]:
    """Starts a cluster, or skips the test where its packages are not there and cannot be installed."""
    if reason := install(packages):
        pytest.skip(reason)
    cluster = Cluster(**description)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a test that fails, what its cluster knows."""
    report = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        for one in item.funcargs.values():
            if isinstance(one, Cluster):
                report.sections.append(("Slurm", one.told()))
                break
    return report


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[Cluster]:
    """The cluster as the last test left it, for fixtures that outlive a test."""
    yield from start(SLURM)


@pytest.fixture
def cluster(session_cluster: Cluster) -> Iterator[Cluster]:
    """Four idle nodes of 64 CPUs and 8 GPUs, without accounting; what a test does to them is undone."""
    yield session_cluster
    session_cluster.restore()


@pytest.fixture(scope="session")
def session_accounting_cluster() -> Iterator[Cluster]:
    """The cluster with accounting as the last test left it."""
    yield from start(SLURM | ACCOUNTING, nodes=2, accounting=True)


@pytest.fixture
def accounting_cluster(session_accounting_cluster: Cluster) -> Iterator[Cluster]:
    """Two idle nodes of a site with sacct, accounts and limits; jobs and nodes are restored, limits are not."""
    yield session_accounting_cluster
    session_accounting_cluster.restore()


@pytest.fixture(scope="session")
def bred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of six candidates, to be trained."""
    return made_once(tmp_path_factory, "bred", lambda folder: breed(folder / "search")) / "search"


@pytest.fixture(scope="session")
def undisturbed(bred: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, trained on this machine without any fault."""

    def train(folder: Path) -> None:
        copy_search(bred, folder / "search")
        call = command(folder / "search", SELECTION, profile="local")
        subprocess.run(call, check=True, cwd=ROOT, capture_output=True)

    return made_once(tmp_path_factory, "undisturbed", train) / "search"


@pytest.fixture
def begin(bred: Path, undisturbed: Path, tmp_path: Path, cluster: Cluster) -> Iterator[Begin]:
    """Starts the search on two nodes of the cluster, up to its selection."""
    started: list[RunningSearch] = []

    def start(*arguments: str) -> RunningSearch:
        folder = copy_search(bred, tmp_path / "search")
        started.append(RunningSearch(folder, cluster.environment, SELECTION, *TWO_NODES, *arguments))
        return started[-1]

    yield start
    for search in started:
        search.stop()
