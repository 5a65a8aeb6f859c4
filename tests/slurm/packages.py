"""Installs Slurm where that is allowed, or says why it is not there."""

from __future__ import annotations

import os
import subprocess

from tests.slurm.daemon import find
from tests.waiting import PATIENCE

# Program that shows that a Debian package is there, by package.
SLURM = {"slurmctld": "slurmctld", "slurmd": "slurmd", "slurm-client": "sbatch", "munge": "munged"}
ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadb-server-core": "mariadbd"}


def missing(packages: dict[str, str]) -> list[str]:
    """Packages whose program is not there."""
    return [package for package, program in packages.items() if find(program) is None]


def install(packages: dict[str, str], what: str = "Slurm") -> str | None:
    """Installs what is missing, with apt-get and as root.

    Args:
        packages: each with the program that shows it is there.
        what: they are called together.

    Returns:
        Why that was not possible; None when everything is there.
    """
    wanted = missing(packages)
    if not wanted:
        return None
    what = f"{what} for the tests: {' '.join(wanted)}"
    if os.geteuid() != 0:
        return f"{what}: not installed, and not root to install them"
    if find("apt-get") is None:
        return f"{what}: not installed, and no apt-get to install them with"
    # In runlevel 1 the packages' scripts start no service.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]):
        try:
            subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=True)
        except subprocess.TimeoutExpired:
            return f"{what}: {' '.join(command[:2])} took more than {PATIENCE:g} s"
        except subprocess.CalledProcessError as error:
            return f"{what}: {' '.join(command[:2])} failed: {(error.stderr.strip() or 'no message').splitlines()[-1]}"
    return None
