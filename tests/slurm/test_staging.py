"""Frontier's setup on a node of a real Slurm: sbcast and srun are Slurm's own."""

from __future__ import annotations

from pathlib import Path

from tests.site.packing import FRONTIER, pack
from tests.slurm.cluster import Cluster


def test_ranks_start_from_the_packed_environment(cluster: Cluster, tmp_path: Path) -> None:
    archive = pack(tmp_path)
    node = tmp_path / "node"
    script = f"""#!/bin/bash
module() {{ true; }}
export HARMONY_ARCHIVE={archive} HARMONY_NODE_FOLDER={node} USER=somebody
source {FRONTIER}/setup.sh || exit 1
srun --ntasks=2 "$HARMONY_PYTHON" -c 'import harmony_core, leaf, sys; print(sys.executable, harmony_core.__file__)'
"""
    (tmp_path / "batch.sh").write_text(script)
    log = tmp_path / "log"
    options = ("--wait", "--nodes=1", "--ntasks-per-node=2", f"--output={log}")
    done = cluster.try_run("sbatch", *options, str(tmp_path / "batch.sh"))
    lines = log.read_text().splitlines()
    assert done.returncode == 0, lines
    assert len(lines) == 2
    assert {line.split()[0] for line in lines} == {f"{node}/environment/bin/python"}
    assert all(line.split()[1].startswith(f"{node}/environment/lib/") for line in lines)
