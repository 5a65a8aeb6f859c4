"""Saves checkpoints beside training: a copy in host memory at once, the disk in a thread."""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from harmony_core.atomic import atomic_write
from harmony_core.errors import UserError
from harmony_core.training.checkpoint import folders
from harmony_core.training.checkpoint.commit import assemble, publish
from harmony_core.training.checkpoint.facts import as_json
from harmony_core.training.checkpoint.piece import Piece, snapshot
from harmony_core.training.checkpoint.save import Save, told

ATTEMPT = "attempt"
TIMEOUT_SECONDS = 600.0


class CheckpointWriter:
    """One rank's side of saving. All ranks save the same steps in the same order.

    **Construct it on all ranks, then call a barrier**; only then look for the `newest` checkpoint, and save. Rank 0
    clears away, or puts back, what a killed run left, and writes a name of its own for this attempt, which the others
    read at their first save. A save's files lie under the attempt's name and the save's number, so that nothing of
    another attempt, whatever its number of ranks, can be taken for a part of it; a rank that read an old name is a rank
    whose receipt does not come.

    The thread that writes ends with the process: call `wait` before leaving.

    Args:
        folder: where the checkpoints lie, one training in each; shared by all ranks.
        rank: of this process.
        world_size: processes that save.
        keep_last: newest checkpoints that stay; older ones are deleted after each commit.
        keep_best: whether the one with the lowest score stays too.
        kept: steps whose checkpoints stay as well.
        timeout_seconds: for the slowest rank, after the first has written its file.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        rank: int,
        world_size: int,
        *,
        keep_last: int = 2,
        keep_best: bool = True,
        kept: Collection[int] = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        if keep_last < 1:
            raise UserError("keep_last", keep_last, "keep at least 1")
        self._folder, self._rank, self._world_size = folder, rank, world_size
        self._keep_last, self._keep_best, self._timeout = keep_last, keep_best, timeout_seconds
        self._kept = kept
        self._attempt: str | None = None
        self._saves = 0
        self._save: Save | None = None
        if rank == 0:
            self._begin()

    def save(
        self,
        step: int,
        pieces: Iterable[Piece],
        facts: dict[str, Any],
        *,
        score: float | None = None,
        wait: bool = False,
    ) -> None:
        """Copies the pieces and returns; a thread writes them. A save that is still under way is waited for first.

        Args:
            step: optimiser steps done.
            pieces: what this rank has to save; over all ranks, each element of each tensor once.
            facts: any JSON; those of rank 0 count.
            score: the lower the better, on rank 0; one that is not finite is none.
            wait: whether to return only when the checkpoint is committed.

        Raises:
            UserError, OSError, RuntimeError, ValueError: what went wrong in the save before, or, with
                `wait`, in this one.
        """
        # Every rank counts its saves, failed ones too, so that a second try of a step finds no receipts of the first.
        self._saves += 1
        self.wait()
        said = as_json(facts)
        if score is not None and not math.isfinite(score):
            score = None
        writing = folders.writing_path(self._folder, step, f"{self._attempt_name()}-{self._saves}")
        target = folders.committed_path(self._folder, step)

        def commit() -> None:
            assemble(writing, self._world_size, step, said, score, self._timeout)
            self._check_attempt()
            publish(writing, target, step)
            folders.retain(self._folder, self._keep_last, self._keep_best, self._kept)

        on_written = commit if self._rank == 0 else None
        self._save = Save(self._rank, writing, target, snapshot(pieces), on_written, self._timeout)
        self._save.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Returns when the last save is committed, on every rank; raises what went wrong in it, once."""
        save, self._save = self._save, None
        if save is not None:
            save.finish()

    def _begin(self) -> None:
        self._attempt = uuid.uuid4().hex[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            folders.clear_leftovers(self._folder)
            atomic_write(self._folder / ATTEMPT, self._attempt.encode())
        except OSError as error:
            raise told(self._folder, error) from error

    def _check_attempt(self) -> None:
        """Stops a job that was given up for dead and lives on beside its rerun."""
        if (name := (self._folder / ATTEMPT).read_text()) != self._attempt:
            raise RuntimeError(f"{self._folder}: another run ({name}) has taken this folder over")

    def _attempt_name(self) -> str:
        if self._attempt is None:
            self._attempt = (self._folder / ATTEMPT).read_text()
        return self._attempt
