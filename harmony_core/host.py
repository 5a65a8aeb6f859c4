"""What this host is: its processor's name, the cores, memory and GPUs that this process may use. No torch."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

# How much of its GPU's memory this process may use, where several share one; all of it where it is not set.
GPU_SHARE = "HARMONY_GPU_SHARE"
_PR_SET_PDEATHSIG = 1


def cpu_name() -> str:
    """The processor's model name and how many cores this process may use, as `NAME x CORES`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()} x {usable_cores()}"


def usable_cores() -> int:
    """Cores in this process's affinity mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory_bytes() -> int:
    """This machine's memory, or what Slurm booked of it for the job that this process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    node = int(os.environ.get("SLURM_MEM_PER_NODE", "0"))
    # Slurm gives MB; 0 means all of the node's memory.
    booked = node or int(os.environ.get("SLURM_MEM_PER_CPU", "0")) * int(os.environ.get("SLURM_CPUS_ON_NODE", "0"))
    return min(total, booked << 20) if booked else total


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as a variable of the environment names them or the kernel counts them.

    Empty on a CPU. AMD's names count among those that ROCR_VISIBLE_DEVICES leaves (`harmony_core.workers.gpus`). A
    container may have NVIDIA's devices without its folder in /proc; Windows' subsystem for Linux shows them as one.
    """
    for variable in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if variable in os.environ:
            return [part for part in os.environ[variable].split(",") if part.strip() not in ("", "-1")]
    nvidia = Path("/proc/driver/nvidia/gpus")
    if nvidia.is_dir():
        count = len(list(nvidia.iterdir()))
    else:
        count = len(list(Path("/dev").glob("nvidia[0-9]*"))) or _amd_gpus() or int(Path("/dev/dxg").exists())
    return [str(index) for index in range(count)]


def free_port() -> int:
    """A TCP port that is free now on every address of this host."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def dying_with(parent: int) -> Callable[[], None] | None:
    """What a process calls to be killed by the kernel when its parent dies; None where only another kernel could.

    Made before a fork, after which locks that loading would take may be held for ever.

    Args:
        parent: the pid; where it is no longer the parent's when this is called, the process ends at once.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            os._exit(1)

    return ask


def allow_open_files() -> None:
    """Lets this process have as many open files as it may: a connection is one, and fewer are given at first."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def host_name() -> str:
    """This machine's name on its network."""
    return socket.gethostname()


def _amd_gpus() -> int:
    """AMD GPUs among the kernel's compute nodes; a CPU's node has no SIMD units."""
    count = 0
    for properties in Path("/sys/class/kfd/kfd/topology/nodes").glob("*/properties"):
        fields = dict(line.split(maxsplit=1) for line in properties.read_text().splitlines() if " " in line)
        count += int(fields.get("simd_count", "0")) > 0
    return count
