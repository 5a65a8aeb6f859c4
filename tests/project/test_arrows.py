"""The rooms import in one direction alone (docs/design.md)."""

from __future__ import annotations

import ast
import contextlib
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "harmony_core"
PLUGIN = PACKAGE.parent / "snakemake_executor_plugin_submitit"
BASE = {"base", "bounds", "errors", "resources", "atomic", "host", "parametrisation", "plugins", "tiling"}
# What an algorithm is and answers, without the search that it is used in.
ALGORITHMS = {"evolution.algorithm", "evolution.algorithms", "evolution.registry"}
MAY_IMPORT = {
    "architecture": set(),
    "metrics": {"architecture"},
    "space": {"architecture", "metrics"},
    "machines": {"architecture"},
    "store": {"architecture", "metrics"},
    "data": set(),
    "models": {"architecture"},
    "interop": {"architecture", "data", "models"},
    "training": {"architecture", "models", "data", "machines"},
    "mad": {"architecture", "models", "space", "training"},
    "calibration": {"architecture", "machines", "models", "training"},
    "search": {
        "architecture",
        "data",
        "evaluation.config",
        "machines",
        "mad.config",
        "metrics",
        "space",
        "store",
        "training.recipe",
        *ALGORITHMS,
    },
    "migration": {"architecture", "search", "store"},
    "results": {"evolution.algorithms", "metrics", "search", "space", "store"},
    "evaluation": {
        "architecture",
        "data",
        "machines",
        "mad",
        "metrics",
        "models",
        "results",
        "scaling.growth",
        "search",
        "space",
        "store",
        "training",
        "workers",
    },
    "scaling": {
        "architecture",
        "data",
        "evaluation",
        "machines",
        "results",
        "space",
        "store",
        "training.device",
        "training.precision",
        "training.recipe",
        "workers",
    },
    "workers": {"slurm"},
    "progress": {"metrics", "results", "search", "store"},
    "site": {"data", "search", "slurm", "workers"},
    "slurm": set(),
    "evolution": {"architecture", "metrics", "results", "search", "space", "store"},
    "terminal": {"metrics", "progress", "store", "training.curve", "training.learner"},
}
# The forkserver imports what its children will, and their main module is the command line. `harmony_core.search` is a
# room and, when it is called, a function of the Python face.
EXCEPTIONS = {("evaluation/preload.py", "cli.main"), ("search/__init__.py", "api")}


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


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_the_table_allows_no_more_than_is_used(room: str) -> None:
    used = {module for path in (PACKAGE / room).rglob("*.py") for module in imports(path)}
    allowed = MAY_IMPORT[room]
    assert {one for one in allowed if not any(f"{module}.".startswith(f"{one}.") for module in used)} == set()


@pytest.mark.parametrize("package", [PACKAGE, PLUGIN, PACKAGE.parent / "snakemake_logger_plugin_harmony"], ids=str)
def test_no_file_is_imported_by_what_it_imports(package: Path) -> None:
    """Whatever the way round, and inside functions too; only what is read for types does not count."""
    files = {module_name(path): path for path in package.rglob("*.py")}
    graph = {name: sorted(needed(path, name) & files.keys()) for name, path in files.items()}
    with contextlib.suppress(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()
        return
    circles = []
    while True:
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            circle = error.args[1]
            circles.append(" imports ".join(reversed(circle)))
            graph[circle[1]].remove(circle[0])
            continue
        break
    assert circles == []


def module_name(path: Path) -> str:
    """Dotted, of a package its `__init__`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def needed(path: Path, name: str) -> set[str]:
    """Modules that a file imports when it runs, without the packages that hold them."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= inner | {module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    # A package's own files and its __init__ know each other, as does whoever asks the package by its name.
    return {one for one in found if one != name and not name.startswith(f"{one}.")}


@pytest.mark.parametrize("path", sorted(PLUGIN.rglob("*.py")), ids=lambda path: str(path.relative_to(PLUGIN)))
def test_the_executor_plugin_stands_alone(path: Path) -> None:
    """Any user of Snakemake could install it."""
    assert "harmony_core" not in path.read_text()


def test_a_job_starts_without_snakemake() -> None:
    """What runs in a scheduler's job imports neither Snakemake nor its interface, which a start would wait for."""
    code = "import sys, snakemake_executor_plugin_submitit.runner; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[0] for name in loaded if name.startswith("snakemake")} == {PLUGIN.name}
