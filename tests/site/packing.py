"""A small environment, packed as Frontier's is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
FRONTIER = ROOT / "profiles" / "frontier"


def pack(folder: Path) -> Path:
    """Packs a virtual environment that has a module `leaf`; the archive, after the environment itself is gone."""
    venv.create(folder / "venv", symlinks=True)
    packages = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    (packages / "leaf.py").write_text("VALUE = 7\n")
    # Where this environment's own packages are: pack.sh asks harmony which ones there are.
    (packages / "outer.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    archive = folder / "build" / "environment.tar.gz"
    environment = {**os.environ, "PYTHON": str(folder / "venv" / "bin" / "python")}
    done = subprocess.run([FRONTIER / "pack.sh", archive], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"packed {folder}/venv into {archive} (")
    shutil.rmtree(folder / "venv")
    return archive
