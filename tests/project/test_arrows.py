"""The rooms import in one direction alone (docs/design.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "harmony_core"
PLUGIN = PACKAGE.parent / "snakemake_executor_plugin_submitit"
BASE = {"base", "errors", "resources", "atomic", "host"}
MAY_IMPORT = {
    "architecture": set(),
    "space": {"architecture"},
    "machines": {"architecture", "training.recipe"},
    "store": {"architecture"},
    "data": set(),
    "models": {"architecture"},
    "interop": {"architecture", "models"},
    "training": {"architecture", "models", "data", "machines"},
    "evaluation": {
        "architecture",
        "config",
        "space",
        "machines",
        "store",
        "data",
        "models",
        "training",
        "evolution.config",
        "evolution.budget",
        "workers",
    },
    "workers": {"machines", "store"},
    "progress": {"config", "store", "evolution.hypervolume"},
    "site": {"config", "data", "store"},
    "evolution": {"architecture", "config", "space", "store"},
}
# The forkserver imports what its children will, and their main module is the command line.
EXCEPTIONS = {("evaluation/preload.py", "cli.main")}


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("harmony_core."):
            found.add(node.module.removeprefix("harmony_core."))
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
            found |= {name.removeprefix("harmony_core.") for name in names if name.startswith("harmony_core.")}
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    allowed = MAY_IMPORT[room] | BASE | {room}
    wrong = [
        (name, module)
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for module in sorted(imports(path))
        for name in [str(path.relative_to(PACKAGE))]
        if not any(module == one or module.startswith(f"{one}.") for one in allowed)
        and (name, module) not in EXCEPTIONS
    ]
    assert wrong == []


@pytest.mark.parametrize("path", sorted(PLUGIN.rglob("*.py")), ids=lambda path: str(path.relative_to(PLUGIN)))
def test_the_executor_plugin_stands_alone(path: Path) -> None:
    """Any user of Snakemake could install it."""
    assert "harmony_core" not in path.read_text()


def test_a_job_starts_without_snakemake() -> None:
    """What runs in a scheduler's job imports neither Snakemake nor its interface, which a start would wait for."""
    code = "import sys, snakemake_executor_plugin_submitit.runner; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[0] for name in loaded if name.startswith("snakemake")} == {PLUGIN.name}
