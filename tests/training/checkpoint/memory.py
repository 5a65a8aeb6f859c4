"""Host memory that a save takes, measured in a process that does nothing else."""

from __future__ import annotations

from pathlib import Path

import torch

from harmony_core.training.checkpoint import CheckpointWriter
from tests.training.checkpoint.ranks import whole


def copies_while_saved(folder: Path) -> float:
    """How often a saved tensor is in host memory beside itself."""
    values = torch.ones(24 << 20)
    writer = CheckpointWriter(folder, 0, 1)
    Path("/proc/self/clear_refs").write_text("5")  # starts VmHWM again
    before = peak_bytes()
    writer.save(1, whole({"w": values}), {}, wait=True)
    return (peak_bytes() - before) / values.nbytes


def peak_bytes() -> int:
    """Peak resident memory since it was started again."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
