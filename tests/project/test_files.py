"""What the project's own files promise: targets, markers, resources in the wheel, nobody's paths."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from harmony_core.resources import resource_names
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = ("install", "kernels", "search", "test", "test-kernels", "chaos", "bench", "gpu-check", "docs", "lint")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-C", str(ROOT), *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target_and_says_what_it_is(target: str) -> None:
    assert re.search(rf"^make {target} +\w", make("help").stdout, flags=re.MULTILINE)
    assert make("--dry-run", target).returncode == 0


def test_make_installs_into_the_environment_that_is_asked_for(tmp_path: Path) -> None:
    commands = make("--dry-run", "test", f"VENV={tmp_path}/venv").stdout
    assert f"{tmp_path}/venv/bin/python -m pip install --constraint constraints.txt" in commands
    assert commands.index("pip install") < commands.index(f"{tmp_path}/venv/bin/python -m pytest")


def test_make_installs_once(tmp_path: Path) -> None:
    for once in (".installed", ".references", ".docs"):
        (tmp_path / once).touch()
    assert "pip install" not in make("--dry-run", "test", f"VENV={tmp_path}").stdout


def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = make("install", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert result.returncode != 0
    assert "use Python 3.11 or newer" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_lints_and_runs_the_documented_commands() -> None:
    path = ROOT / ".ci" / "run"
    text = path.read_text()
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
    assert "set -euo pipefail" in text
    assert text.index("make lint") < text.index("make search") < text.index("make test")


@pytest.mark.parametrize("failing", ["install", "lint", "search", "test", "none"])
def test_ci_ends_with_the_first_step_that_fails(tmp_path: Path, failing: str) -> None:
    run = tmp_path / ".ci" / "run"
    run.parent.mkdir()
    shutil.copy(ROOT / ".ci" / "run", run)
    (tmp_path / "make").write_text(f'#!/bin/sh\necho "$1 is made"\n[ "$1" != {failing} ]\n')
    (tmp_path / "make").chmod(0o755)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(scratch)}
    done = subprocess.run([run], capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)
    assert (done.returncode == 0) == (failing == "none")
    steps = ["install", "search", "lint", "test"]
    # The linters' words follow the search's, and are not said after a search that failed.
    made = steps if failing == "none" else steps[: steps.index(failing) + 1]
    assert done.stdout.split() == [word for step in made for word in (step, "is", "made")]
    wait_until(lambda: not list(scratch.iterdir()), "what it made for itself to be removed")


def test_wheel_holds_code_and_what_lies_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not part of the environment")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"harmony_core/py.typed", "harmony_core/cli/main.py"} <= names
    installed = {name.removeprefix("harmony_core/installed/") for name in names if "/installed/" in name}
    for folder in ("architectures", "machines", "spaces"):
        assert {f"resources/{folder}/{name}.yaml" for name in resource_names(folder)} <= installed
    beside = ("workflow", "profiles", "config", "resources")
    files = [path for folder in beside for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert installed == {"Snakefile", *(str(path.relative_to(ROOT)) for path in files)}
    # A script that is run keeps that it may be.
    pack = zipfile.ZipFile(wheel).getinfo("harmony_core/installed/profiles/frontier/pack.sh")
    assert pack.external_attr >> 16 & 0o111


def test_an_editable_wheel_holds_no_second_copy(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not part of the environment")
    build = f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert [name for name in zipfile.ZipFile(wheel).namelist() if "installed" in name or "Snakefile" in name] == []


def test_entry_point_is_there() -> None:
    module, name = PYPROJECT["project"]["scripts"]["harmony"].split(":")
    path = ROOT / (module.replace(".", "/") + ".py")
    assert re.search(rf"^(def {name}\(|{name} = )", path.read_text(), flags=re.MULTILINE)


def test_rooms_without_torch_stay_without() -> None:
    rooms = (
        "architecture",
        "space",
        "machines",
        "store",
        "data",
        "evolution",
        "search",
        "migration",
        "results",
        "terminal",
        "report",
    )
    code = "import sys\n" + "".join(f"import harmony_core.{room}\n" for room in rooms)
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_machines_paths_in_the_files() -> None:
    # In a second work tree of git `.git` is a file, with a path of this machine.
    own = [path for path in ROOT.glob("*.*") if path.name != ".git"]
    own += [*(ROOT / ".ci").iterdir(), *(ROOT / "docs").rglob("*.md")]
    for folder in ("harmony_core", "resources", "config", "profiles", "workflow", "benchmarks"):
        own += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml", ".smk", ".md")]
    # A path of some machine, not the end of `results/{search}/work/`; and the host of a package registry.
    private = re.compile(r"(?<![\w})])/(work|root|home|opt)/|\bpypi\.|pythonhosted|conda\.anaconda")
    found = [f"{path}: {match[0]}" for path in own if path.is_file() for match in private.finditer(path.read_text())]
    assert not found


def test_the_readme_is_filled_in() -> None:
    assert re.findall(r"^[A-Z_]{6,}$", (ROOT / "README.md").read_text(), flags=re.MULTILINE) == []
