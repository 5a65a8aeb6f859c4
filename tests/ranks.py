"""Real processes of one gloo group, each started from a server that has imported torch."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.waiting import PATIENCE


def rank_server() -> ForkServerContext:
    """Starts processes that have imported torch and DeepSpeed: of a server, once a test process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harmony_core.evaluation.preload_deepspeed"])
    return context


def run_on_ranks(function: Callable[[], dict[str, Any]], size: int, folder: Path) -> list[dict[str, Any]]:
    """What `function`, of an importable module, returns on each of `size` ranks; what one raises is raised."""
    context = rank_server()
    processes = [context.Process(target=_rank, args=(function, rank, size, folder)) for rank in range(size)]
    for process in processes:
        process.start()
    end = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
        process.join()
    errors = [path.read_text() for path in sorted(folder.glob("*.error"))]
    assert not errors, "\n".join(errors)
    assert not late, f"{len(late)} of {size} ranks did not end within {PATIENCE} seconds"
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]


def _rank(function: Callable[[], dict[str, Any]], rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    # Where the world is made already, nobody meets there.
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    try:
        store = dist.FileStore(str(folder / "store"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
        torch.save(function(), folder / f"{rank}.pt")
        dist.destroy_process_group()
    except Exception:
        (folder / f"{rank}.error").write_text(f"rank {rank}: {traceback.format_exc()}")
        raise
