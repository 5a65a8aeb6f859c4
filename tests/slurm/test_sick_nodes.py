"""A node that is sick, or candidates that are: the machine's faults never become an architecture's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.searches import SELECTION, TWO_NODES, RunningSearch, copy_search

# As a fault of the machine would: before a child of a rank on the sick node does anything. Python imports this itself.
# The other node's children wait for the first fault: it might have trained everybody before the sick one is up.
FAULT = """\
import os, pathlib, sys, time
if os.environ.get("SLURMD_NODENAME") and "harmony_core.workers" in " ".join(sys.orig_argv):
    import importlib.abc, importlib.machinery

    work, struck = None, pathlib.Path({struck!r})

    def fail(target, payload, setup):
        struck.touch()
        {fault}

    def wait_and_work(target, payload, setup):
        while not struck.exists():
            time.sleep(0.05)
        return work(target, payload, setup)

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "harmony_core.workers.child":
                return None
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            execute = spec.loader.exec_module

            def execute_with_fault(module):
                global work
                execute(module)
                work = module._work
                module._work = fail if os.environ["SLURMD_NODENAME"] == {node!r} else wait_and_work

            spec.loader.exec_module = execute_with_fault
            return spec

    sys.meta_path.insert(0, Finder())
"""
DIES = "os._exit(1)"
FULL = "raise OSError(28, 'No space left on device')"


def begin_on_sick(bred: Path, folder: Path, cluster: Cluster, node: str, fault: str) -> RunningSearch:
    """Starts the search where every child on one node meets a fault."""
    patch = folder / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(FAULT.format(node=node, fault=fault, struck=str(folder / "struck")))
    path = ":".join(filter(None, (str(patch), cluster.environment.get("PYTHONPATH"))))
    environment = {**cluster.environment, "PYTHONPATH": path}
    return RunningSearch(copy_search(bred, folder / "search"), environment, SELECTION, *TWO_NODES)


@pytest.mark.parametrize("fault", [DIES, FULL], ids=["every child dies", "its disk is full"])
def test_one_sick_node_costs_nobody_an_attempt(
    bred: Path, undisturbed: Path, tmp_path: Path, cluster: Cluster, fault: str
) -> None:
    search = begin_on_sick(bred, tmp_path, cluster, "n2", fault)
    try:
        search.ends_well(undisturbed)
        assert search.keys("death") == []
        # Once a run of the job: a job that is begun again finds it out again.
        left_out = [record for record in search.journal() if record["event"] == "left_out"]
        assert {record["node"] for record in left_out} == {"n2"}
        why = "No space left" if fault is FULL else "a known small task fails there too"
        assert all(why in record["why"] for record in left_out)
        logs = (tmp_path / "search").rglob("*.log")
        assert any("nothing more is begun on n2" in log.read_text(errors="replace") for log in logs)
    finally:
        search.stop()
