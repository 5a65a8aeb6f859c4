"""The torch.distributed world that a training's processes make, and how they meet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import HashStore, Store, TCPStore  # type: ignore[attr-defined]

from harmony_core.errors import UserError
from harmony_core.host import allow_open_files
from harmony_core.models import keep_freed_memory
from harmony_core.training.device import device_for_training, limit_memory
from harmony_core.training.engine import connect_deepspeed
from harmony_core.training.world import World

__all__ = ["NotMet", "World", "connect", "count_rank", "first_decides", "start", "stop"]

TIMEOUT_SECONDS = 600.0
# The others wait at most this long while one rank prepares.
_DECISION_SECONDS = 4 * 3600.0


class NotMet(RuntimeError):
    """The processes of a world did not find one another in time; says which are missing."""


def start(world: World, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Makes this process a member of the torch.distributed world (NCCL on GPUs, gloo on CPUs).

    DeepSpeed is told of a world of several. One of one is kept in memory and takes no port. Where a world exists, it
    stays.

    Args:
        world: this process's place.
        timeout_seconds: the longest that meeting, and any collective operation, may take.

    Raises:
        NotMet: not all ranks came in time; names those that did not.
        UserError: this is rank 0, and its port is taken; or there should be a GPU, and torch cannot use it.
    """
    keep_freed_memory()
    # Also in a world that exists: DeepSpeed asks for them whenever an engine is made.
    os.environ.update(_for_deepspeed(world))
    if not dist.is_initialized():
        on_gpu = device_for_training().type == "cuda"
        device = torch.device("cuda", world.device_index) if on_gpu else None
        if device is not None:
            torch.cuda.set_device(device)
            limit_memory(device)
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=_met(world, timeout_seconds),
            rank=world.rank,
            world_size=world.size,
            timeout=timedelta(seconds=timeout_seconds),
            # NCCL would find out each group's devices by its first operation. A rank alone has nobody to connect to.
            device_id=None if world.alone else device,
        )
    if not world.alone:
        connect_deepspeed()


def stop() -> None:
    """Leaves the world; after this the process may end without another one waiting for it."""
    if dist.is_initialized():
        dist.destroy_process_group()


def first_decides(world: World, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What rank 0 decides, on every rank.

    Args:
        world: of this process.
        decide: called on rank 0 alone; its answer is JSON. It may take as long as preparing data does.

    Raises:
        UserError: what `decide` raised, on every rank.
    """
    if world.alone:
        return decide()
    store = connect(world, _DECISION_SECONDS)
    if world.rank == 0:
        refusal: UserError | None = None
        answer: dict[str, Any]
        try:
            answer = {"decided": decide()}
        except UserError as error:
            refusal, answer = error, {"refused": [error.field, str(error.value), error.fix]}
        store.set("first/answer", json.dumps(answer))
        count_rank(store, "first/heard", world.size)
        # This rank holds the store, so it stays until the others have heard.
        store.wait(["first/heard/all"])
        if refusal is not None:
            raise refusal
    answer = json.loads(store.get("first/answer"))
    if world.rank != 0:
        count_rank(store, "first/heard", world.size)
    if "refused" in answer:
        raise UserError(*answer["refused"])
    decided: dict[str, Any] = answer["decided"]
    return decided


def count_rank(store: TCPStore, key: str, size: int) -> None:
    """Counts this rank; the last one sets `KEY/all`, which can be waited for.

    Args:
        store: that all ranks are connected to.
        key: under which they are counted.
        size: ranks that are expected.
    """
    if store.add(key, 1) == size:
        store.set(f"{key}/all", "")


def connect(world: World, timeout_seconds: float) -> TCPStore:
    """A connection of its own to the world's key-value store, which `start` opens.

    Raises:
        dist.DistError: nobody listens there in time.
    """
    return _tcp_store(world, timeout_seconds, is_master=False)


def _met(world: World, timeout_seconds: float) -> Store:
    """The store of a world whose processes are all there."""
    if world.alone:
        return HashStore()
    store = _opened_store(world, timeout_seconds)
    store.set(f"here/{world.rank}", "")
    # One rank looks for all the others: if thousands did, the store would be busy with them.
    if world.rank == 0:
        keys = [f"here/{rank}" for rank in range(world.size)]
        try:
            store.wait(keys)
        except dist.DistError:
            missing = [str(rank) for rank, key in enumerate(keys) if not store.check([key])]
            store.set("missing", ", ".join(missing))
        store.set("met", "")
    store.wait(["met"], timedelta(seconds=2 * timeout_seconds))
    if store.check(["missing"]):
        ranks = store.get("missing").decode()
        raise NotMet(f"of {world.size} ranks, these did not come within {timeout_seconds:g} s: {ranks}")
    return store


def _opened_store(world: World, timeout_seconds: float) -> TCPStore:
    opens = world.rank == 0 and not world.agent_store
    try:
        return _tcp_store(world, timeout_seconds, is_master=opens)
    except dist.DistError:
        if opens:
            fix = f"another process listens there on {world.address}; run again, or set another port on all ranks"
            raise UserError("MASTER_PORT", world.port, fix) from None
        where = f"{world.address}, port {world.port}"
        raise NotMet(f"rank 0 did not answer within {timeout_seconds:g} s at {where}") from None


def _tcp_store(world: World, timeout_seconds: float, is_master: bool) -> TCPStore:
    if is_master:
        # Where 64 files may be open, the 48th rank's connection is reset.
        allow_open_files()
    return TCPStore(
        world.address,
        world.port,
        world.size,
        is_master=is_master,
        timeout=timedelta(seconds=timeout_seconds),
        wait_for_workers=False,
    )


def _for_deepspeed(world: World) -> dict[str, str]:
    """The variables that DeepSpeed and device selection read."""
    return {
        "RANK": str(world.rank),
        "WORLD_SIZE": str(world.size),
        "LOCAL_RANK": str(world.device_index),
        "LOCAL_SIZE": os.environ.get("LOCAL_SIZE", "1"),
        "MASTER_ADDR": world.address,
        "MASTER_PORT": str(world.port),
    }
