"""The toys as a distribution that somebody has installed, or has not."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]


def install(folder: Path) -> Path:
    """Puts the toys and their entry points into a folder, as an installer does, for `environment`."""
    told = folder / "harmony_toys-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n")
    groups = PROJECT["entry-points"].items()
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items()) for group, points in groups
    ]
    (told / "entry_points.txt").write_text("\n".join(lines))
    shutil.copytree(FOLDER / "harmony_toys", folder / "harmony_toys", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def environment(folder: Path | None, **variables: str) -> dict[str, str]:
    """That of a process which finds what is installed in a folder."""
    path = [str(one) for one in (folder, os.environ.get("PYTHONPATH")) if one]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **variables}
