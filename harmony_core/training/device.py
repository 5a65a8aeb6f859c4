"""Which device this process computes on, decided without asking any: what a process has asked, its forks cannot use."""

from __future__ import annotations

import os

import torch

from harmony_core.errors import UserError
from harmony_core.host import GPU_SHARE, visible_gpus


def uses_gpu() -> bool:
    """Whether this process is to compute on a GPU: it may use one, and torch was built for it.

    No driver is asked, since a CUDA context, or half of one, does not survive a fork.
    """
    built = torch.version.cuda is not None or torch.version.hip is not None
    return built and bool(visible_gpus())


def name_accelerator() -> None:
    """Tells DeepSpeed what it would find out at its import by asking devices; what was told before stays.

    On a GPU also where Triton, which DeepSpeed imports, keeps what it compiled.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if uses_gpu() else "cpu")
    if uses_gpu():
        from harmony_core.models.triton_tuning import name_cache

        name_cache()


def device_for_training() -> torch.device:
    """The one place that chooses a device: this process's GPU where it may use one, else the CPU.

    Raises:
        UserError: there should be a GPU, and torch cannot use it.
    """
    if not uses_gpu():
        return torch.device("cpu")
    if not torch.cuda.is_available():
        fix = "mend the driver (torch.cuda.is_available() is false), or run with CUDA_VISIBLE_DEVICES= on the CPU"
        raise UserError("GPUs", ", ".join(visible_gpus()), fix)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def limit_memory(device: torch.device) -> None:
    """Holds this process to its part of a GPU that it shares: more is out of memory for it, and not for the others."""
    share = float(os.environ.get(GPU_SHARE, "1"))
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share, device)
