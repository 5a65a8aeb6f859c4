"""The DeepSpeed engine for one process: what it is given, and what is switched off because one process needs none."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import nn

from harmony_core.models import keep_freed_memory


def device_for_training() -> torch.device:
    """The one place that chooses a device: this process's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def import_deepspeed() -> Any:
    """Imports DeepSpeed quietly; it touches no device and starts no process group.

    Its shared-memory collective is compiled at the first start on a CPU and is of no use to one
    process, so it is declared unavailable before anything asks for it.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    return deepspeed


def start_single_process() -> None:
    """Makes this process a torch.distributed world of its own, through memory and not through a port."""
    keep_freed_memory()
    deepspeed = import_deepspeed()
    if not torch.distributed.is_initialized():
        for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_SIZE", "1")):
            os.environ.setdefault(name, value)
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        store = torch.distributed.HashStore()  # type: ignore[attr-defined]
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    deepspeed.init_distributed(verbose=False)


def build_engine(
    module: nn.Module, optimizer: torch.optim.Optimizer, micro_batch_size: int, accumulation_steps: int
) -> Any:
    """Wraps `module`, whose forward returns a scalar loss, in a DeepSpeed engine (ZeRO stage 0).

    Clipping is the trainer's, which needs the norm; gradient reduction is skipped, since one
    process has nobody to reduce with.
    """
    engine, *_ = import_deepspeed().initialize(
        model=module,
        optimizer=optimizer,
        config={
            "train_micro_batch_size_per_gpu": micro_batch_size,
            "gradient_accumulation_steps": accumulation_steps,
            "zero_optimization": {"stage": 0},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 10**9,
        },
    )
    engine.enable_backward_allreduce = False
    return engine
