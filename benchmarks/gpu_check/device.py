"""What is here: the device as torch sees it, its driver, and the packages that matter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.gpu_check.settings import TORCH, Before, Row, Setting
from harmony_core.host import cpu_name

PACKAGES = (
    "torch",
    "triton",
    "deepspeed",
    "transformers",
    "mamba-ssm",
    "causal-conv1d",
    "fla-core",
    "flash-linear-attention",
    "liger-kernel",
)
# Where the kernel says which driver it has loaded, NVIDIA's and AMD's.
_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/sys/module/amdgpu/version"))


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """One row: the device's name, memory and libraries; sizes in bytes."""
    import torch

    facts: Row = {"name": cpu_name(), "torch_cuda": torch.version.cuda, "torch_hip": torch.version.hip}
    if not setting.small:
        found = torch.cuda.get_device_properties(0)
        capability = ".".join(map(str, torch.cuda.get_device_capability(0)))
        facts |= {"name": found.name, "memory_bytes": found.total_memory, "capability": capability}
        facts |= {"multiprocessors": found.multi_processor_count, "bf16": torch.cuda.is_bf16_supported()}
    yield {**facts, "driver": driver()}


def circumstances() -> dict[str, Any]:
    """Versions and commit; None for what is not installed, and for a commit where git does not know one."""
    packages = {name: _version(name) for name in PACKAGES}
    return {
        "packages": packages,
        "torch_note": torch_note(packages["torch"] or "0"),
        "python": sys.version.split()[0],
        "cpu": cpu_name(),
        "commit": _commit(),
    }


def torch_note(installed: str) -> str | None:
    """What is to be said of a torch that is older than the steps were written for."""
    if tuple(int(part) for part in installed.split("+")[0].split(".")[:2]) >= TORCH:
        return None
    return f"torch {installed} is older than {TORCH[0]}.{TORCH[1]}; what is there was run"


def driver() -> str | None:
    """The first line of what the kernel says of a GPU's driver; None where it has none."""
    for path in _DRIVERS:
        if path.exists():
            return path.read_text().splitlines()[0].strip()
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None
