"""Dependencies are said once: pyproject, constraints, conda, licences and imports agree."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(text) for text in texts] for name, texts in PROJECT["optional-dependencies"].items()}

# What the tests are run with; `gpu` is for other machines.
TESTED = ("bo", "eval", "hf", "tensorboard", "ui", "dev")

# What a module is called where its distribution is called otherwise.
DISTRIBUTIONS = {"yaml": "pyyaml", "vl_convert": "vl-convert-python", "sklearn": "scikit-learn"}
DISTRIBUTED = {name: module for module, name in DISTRIBUTIONS.items()}
PACKAGES = ("harmony_core", "snakemake_executor_plugin_submitit", "snakemake_logger_plugin_harmony")
# What needs an extra, imported where it is used; not what works on the project.
OPTIONAL = {requirement.name for name in EXTRAS if name not in ("dev", "docs") for requirement in EXTRAS[name]}


def conda_lines() -> list[str]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return next(entry["pip"] for entry in entries if isinstance(entry, dict))


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonical(one.name): Version(next(iter(one.specifier)).version) for one in found}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> Iterator[str]:
    """Names of the distributions that our packages import, anywhere in their functions too."""
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                if top not in sys.stdlib_module_names and top not in PACKAGES:
                    yield DISTRIBUTIONS.get(top, canonical(top))


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    declared = {canonical(one.name) for one in CORE}
    # torch for GPUs brings Triton: for CUDA and for ROCm from two distributions of one module.
    optional = {canonical(name) for name in OPTIONAL} | {"triton"}
    assert set(imported()) - optional == declared


def test_every_extra_is_for_something_that_is_imported() -> None:
    """Some by a name in a string."""
    sources = [path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    modules = {name: DISTRIBUTED.get(name, name.replace("-", "_")) for name in OPTIONAL}
    unused = [
        name for name in OPTIONAL if not any(one in source for one in (name, modules[name]) for source in sources)
    ]
    assert unused == []


def test_conda_has_the_same_dependencies() -> None:
    listed = [line for line in conda_lines() if not line.startswith("-")]
    expected = [*PROJECT["dependencies"]]
    for extra in TESTED:
        expected += PROJECT["optional-dependencies"][extra]
    assert sorted(listed) == sorted(expected)
    assert "--constraint constraints.txt" in conda_lines()


@pytest.mark.parametrize(
    "requirement", [*CORE, *(one for extra in (*TESTED, "docs") for one in EXTRAS[extra])], ids=str
)
def test_pinned_release_meets_the_requirement(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonical(requirement.name)])


def test_pins_have_no_local_version() -> None:
    """`torch==2.13.0+cpu` would be found on some machines only; 2.13.0 is met by every build of it."""
    assert str(pins()["torch"]) == "2.13.0"
    assert all(version.local is None for version in pins().values())


def test_each_dependency_has_its_licence_in_third_party() -> None:
    text = (ROOT / "THIRD_PARTY.md").read_text()
    rows = dict(re.findall(r"^\| ([\w-]+) \| ([^|]+) \|", text, flags=re.MULTILINE))
    names = {one.name for one in [*CORE, *(one for extra in EXTRAS.values() for one in extra)]}
    assert names <= rows.keys()
    assert rows["moocore"].startswith("LGPL-2.1-or-later")
    assert "Open Knowledge Foundation" in text
