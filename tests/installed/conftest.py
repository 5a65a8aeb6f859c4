"""A virtual environment with HARMONY's wheel and without the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The whole environment beside it would be downloads of gigabytes; its packages are the same.
SHARED = sysconfig.get_paths()["purelib"]


class Installed:
    """The environment and a folder to work in.

    Args:
        folder: both lie in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder / "work", folder / "venv"
        self.folder.mkdir()

    @property
    def bin(self) -> Path:
        """Its commands."""
        return self.environment / "bin"

    def make(self) -> None:
        """Builds the wheel and installs it."""
        wheels = self.environment.parent / "wheels"
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        venv.create(self.environment, with_pip=False, symlinks=True)
        (packages,) = self.environment.glob("lib/python*/site-packages")
        # Of a folder that a .pth names no .pth is read: the clone, which is installed there by one, is not on the path.
        (packages / "dependencies.pth").write_text(f"{SHARED}\n")
        (wheel,) = wheels.glob("*.whl")
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True, capture_output=True)

    def run(
        self, *command: str, code: int = 0, cwd: Path | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs one of its commands, or its python, with `given` as standard input, and looks at the exit code."""
        private = ("PYTHONPATH", "VIRTUAL_ENV", "COLUMNS")
        environment = {name: value for name, value in os.environ.items() if name not in private}
        environment["PATH"] = f"{self.bin}:{environment['PATH']}"
        call = [str(self.bin / command[0]), *command[1:]]
        done = subprocess.run(
            call, cwd=cwd or self.folder, env=environment, input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """HARMONY from its wheel."""
    pytest.importorskip("hatchling", reason="the build backend is not part of the environment")
    made = Installed(tmp_path_factory.mktemp("installed"))
    made.make()
    return made
