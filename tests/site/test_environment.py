"""Versions, the plugin, DeepSpeed's operations and the packed environment."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from harmony_core.site import Profile, Site, environment
from harmony_core.site.environment import installed

SITE = Site(name="mine", source="a test", deepspeed_ops=("fused_adam",), archive="build/environment.tar.gz")


def profile(executor: str) -> Profile:
    return Profile(name="mine", path=Path("mine/config.yaml"), values={"executor": executor})


def test_this_environment_has_what_it_needs() -> None:
    findings = {finding.subject: finding for finding in environment.check_versions()}
    assert set(findings) == {"python", "torch", "deepspeed", "snakemake", "submitit"}
    assert {finding.verdict for finding in findings.values()} == {"ok"}


def test_an_old_or_absent_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.10.0+rocm7.1", "deepspeed": "0.19.8", "snakemake": "9.27.1"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["torch>=2.13", "deepspeed>=0.19", "pytest>=9; extra == 'dev'"]
    )
    lines = [finding.line for finding in environment.check_versions() if finding.verdict == "missing"]
    assert lines == [
        "torch: 2.10.0+rocm7.1 is older than 2.13; install torch>=2.13",
        "submitit: not installed; install harmony into this environment again",
    ]


def test_a_cluster_that_the_plugin_does_not_know() -> None:
    values = {"executor": "submitit", "submitit-cluster": "slurmm"}
    found = environment.check_plugin(Profile(name="mine", path=Path("mine/config.yaml"), values=values))
    assert found.verdict == "missing"
    assert found.line == "executor: submitit-cluster 'slurmm' is unknown; use slurm, pilot, local, debug"


def test_a_plugin_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("empty", "broken"):
        (tmp_path / f"snakemake_executor_plugin_{name}").mkdir()
    (tmp_path / "snakemake_executor_plugin_broken" / "__init__.py").write_text("raise RuntimeError('half installed')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "has no attribute 'Executor'" in environment.check_plugin(profile("empty")).line
    assert "RuntimeError: half installed" in environment.check_plugin(profile("broken")).line
    assert environment.check_plugin(profile("nowhere")).verdict == "missing"
    assert environment.check_plugin(profile("local")).verdict == "ok"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("installed_ops={'fused_adam': True}\n", "ok"),
        ("installed_ops={'fused_adam': False}\n", "warning"),
        ("", "warning"),
    ],
)
def test_operations_that_are_compiled(text: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git_version_info_installed.py").write_text(f"version='0.19.8'\n{text}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert [finding.verdict for finding in environment.check_deepspeed_ops(SITE)] == [verdict]


def archive(project: Path, packages: str | None) -> str:
    if packages is not None:
        (project / "build").mkdir(exist_ok=True)
        (project / "build" / "environment.tar.gz").write_bytes(b"packed")
        (project / "build" / "environment.tar.gz.txt").write_text(packages)
    (finding,) = environment.check_archive(SITE, project)
    return f"{finding.verdict}: {finding.line}"


def test_a_packed_environment_is_that_of_this_moment(tmp_path: Path) -> None:
    here = "\n".join(f"{name}=={version}" for name, version in installed().items())
    assert archive(tmp_path, None).startswith("warning: packed environment: no build/environment.tar.gz")
    assert archive(tmp_path, here).startswith("ok: ")
    older = here.replace(f"numpy=={metadata.version('numpy')}", "numpy==1.0")
    told = archive(tmp_path, older)
    assert told.startswith("missing: ")
    assert "numpy==1.0" in told
    assert "run profiles/mine/pack.sh" in told


def test_what_is_installed_is_printed_for_the_archive() -> None:
    done = subprocess.run([sys.executable, "-m", environment.__name__], capture_output=True, text=True, check=True)
    lines = done.stdout.split()
    assert f"numpy=={metadata.version('numpy')}" in lines
    assert not [line for line in lines if line.startswith("harmony-search")]
