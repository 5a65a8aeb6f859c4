"""What rank 0 does once its own file is written: waits for all receipts, and makes a checkpoint of them.

No collective is called: saving runs in a thread beside training, where gloo and NCCL are not safe. Ranks meet in the
file system instead, under a name that belongs to this one save.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmony_core.errors import UserError
from harmony_core.training.checkpoint.coverage import check_coverage
from harmony_core.training.checkpoint.folders import clear_leftovers, commit, committed, delete
from harmony_core.training.checkpoint.manifest import FORMAT_VERSION, Damaged, Manifest, read_receipt
from harmony_core.training.checkpoint.reader import open_checkpoint

FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 0.005, 1.0


def receipt_path(writing: Path, rank: int) -> Path:
    """Where `rank` says that its file is on the disk."""
    return writing / f"rank={rank:05d}.json"


def assemble(
    writing: Path, world_size: int, step: int, facts: dict[str, Any], score: float | None, timeout_seconds: float
) -> None:
    """Waits for every rank's file in `writing` and writes the manifest in place of the receipts.

    Args:
        writing: folder that all ranks write to.
        world_size: how many ranks do.
        step: optimiser steps done.
        facts: what the training says of itself, for JSON.
        score: lower is better; None where there is none.
        timeout_seconds: how long receipts are waited for.

    Raises:
        TimeoutError: names the ranks whose receipt did not come.
        ValueError: the pieces are not whole tensors.
    """
    receipts = [receipt_path(writing, rank) for rank in range(world_size)]
    _wait_for(receipts, timeout_seconds)
    files = [read_receipt(path) for path in receipts]
    check_coverage(files)
    stored = tuple(file for file in files if file.pieces)
    Manifest(
        format_version=FORMAT_VERSION, step=step, world_size=world_size, score=score, facts=facts, files=stored
    ).write(writing)
    for path in receipts:
        path.unlink()


def publish(writing: Path, target: Path, step: int) -> None:
    """Makes what was assembled a checkpoint, and clears what earlier saves left.

    Args:
        writing: folder of a whole checkpoint with its manifest.
        target: what it is to be called, in the same folder.
        step: its step.

    Raises:
        UserError: a checkpoint of a later step is in the way.
    """
    # Until the commit no other rank can be in another save, whose files this would take for leftovers.
    clear_leftovers(target.parent, keep=writing)
    _rewind(target.parent, step)
    commit(writing, target)


def poll(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Whether `condition` became true in time; a shared file system tells nobody that it has changed."""
    deadline, pause = time.monotonic() + timeout_seconds, FIRST_POLL_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, LAST_POLL_SECONDS)
    return True


def _wait_for(receipts: list[Path], timeout_seconds: float) -> None:
    def missing() -> list[int]:
        there = {path.name for path in receipts[0].parent.iterdir()}
        return [rank for rank, path in enumerate(receipts) if path.name not in there]

    if not poll(lambda: not missing(), timeout_seconds) and (ranks := missing()):
        named = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
        raise TimeoutError(f"{receipts[0].parent}: rank {named} did not save within {timeout_seconds:g} s")


def _rewind(folder: Path, step: int) -> None:
    """Deletes damaged checkpoints of later steps, which the training that is at `step` now was not resumed from."""
    for later, path in committed(folder).items():
        if later <= step:
            return
        try:
            open_checkpoint(path).close()
        except Damaged:
            delete(path)
        else:
            fix = f"resume from it, or use another folder for a training that is at step {step}"
            raise UserError("checkpoint", path, fix)
