"""`harmony doctor`: a line a check, exit code 2 when something is missing, mistakes in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.cli.doctor import line
from harmony_core.site.finding import missing

VERDICTS = {"ok", "missing", "warning", "unknown"}


def doctor(cwd: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    call = [sys.executable, "-m", "harmony_core", "doctor", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def config(folder: Path) -> Path:
    path = folder / "mine.yaml"
    path.write_text("search: {name: doctor-test}\nspace: nano\ndata: {source: synthetic}\n")
    return path


def test_the_local_profile_is_ready(clone: Path, tmp_path: Path) -> None:
    done = doctor(clone, "--profile", "local", "--configfile", str(config(tmp_path)))
    *lines, last = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert last.startswith("ready, ")
    assert {text.split()[0] for text in lines} <= VERDICTS
    assert any(text.startswith("ok      plan: ") and text.endswith(" jobs to do") for text in lines)
    # Nothing is made that was not there.
    assert not (clone / "results" / "doctor-test").exists()


def test_what_is_missing_ends_in_exit_code_2(clone: Path, tmp_path: Path) -> None:
    profile = tmp_path / "mine"
    profile.mkdir()
    (profile / "config.yaml").write_text("cores: 1\nsubmitit-folder: /proc/jobs\njbos: 3\n")
    done = doctor(clone, "--profile", str(profile), "--configfile", str(config(tmp_path)))
    assert done.returncode == 2
    told = [text for text in done.stdout.splitlines() if text.startswith("missing ")]
    assert [text.split(":")[0] for text in told] == ["missing plan", "missing job folder"]
    assert "unrecognized arguments: --jbos=3" in told[0]
    assert done.stdout.splitlines()[-1] == "2 missing: nothing was queued"


def test_without_slurm_a_slurm_profile_is_not_ready(clone: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("bash", "env"):
        (bare / name).symlink_to(f"/usr/bin/{name}")
    done = doctor(clone, "--profile", "slurm", path=str(bare))
    assert done.returncode == 2
    expected = "missing slurm: no sbatch, squeue, scancel, srun, scontrol, sinfo on PATH; run this on a login node"
    assert [text for text in done.stdout.splitlines() if text.startswith(expected)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--profile", "nowhere"), "profile: nowhere: there is no nowhere/config.yaml"),
        (("--profile", "local", "--site", "frontjer"), "sites: frontjer: no such name; did you mean 'frontier'?"),
        (("--profile", "local", "--probe"), "--probe: local: this profile sends no job to Slurm"),
        (("--profile", "local", "--configfile", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_mistakes_are_one_line(clone: Path, arguments: tuple[str, ...], told: str) -> None:
    done = doctor(clone, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_was_found_is_not_taken_for_markup() -> None:
    assert line(missing("nodes", "n[1-4]\nare gone", "[red]wait")) == (
        r"[red]missing [/]nodes: n[1-4] are gone; \[red]wait"
    )
