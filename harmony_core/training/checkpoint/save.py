"""One save of one rank: a thread that writes its pieces, and how the rank learns what became of it."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from harmony_core.errors import UserError
from harmony_core.training.checkpoint.commit import poll, receipt_path
from harmony_core.training.checkpoint.manifest import StoredFile, StoredPiece, write_receipt
from harmony_core.training.checkpoint.piece import DTYPES, Piece
from harmony_core.training.checkpoint.tensor_file import write_tensors

_PERSONS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


class Save(threading.Thread):
    """Writes a file and its receipt; on rank 0, commits the checkpoint then.

    Args:
        rank: of this process.
        writing: folder that belongs to this save, on all ranks.
        target: what it is renamed to.
        pieces: copies in host memory, let go of when they are written.
        commit: called on rank 0 after its own file; None on the others.
        timeout_seconds: how long the others wait for rank 0 in `finish`.
    """

    def __init__(
        self,
        rank: int,
        writing: Path,
        target: Path,
        pieces: list[Piece],
        commit: Callable[[], None] | None,
        timeout_seconds: float,
    ) -> None:
        # This is a daemon, since a process whose training failed would else stay until the timeout for receipts has
        # passed.
        super().__init__(name=f"checkpoint {target.name}", daemon=True)
        self._rank, self._writing, self._target = rank, writing, target
        self._pieces, self._commit, self._timeout = pieces, commit, timeout_seconds
        self._inode: int | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """The thread."""
        try:
            self._writing.mkdir(parents=True, exist_ok=True)
            self._inode = self._writing.stat().st_ino
            write_receipt(receipt_path(self._writing, self._rank), self._write())
            if self._commit is not None:
                self._commit()
        except Exception as error:
            # On another rank than 0 a folder that went away was given up by rank 0, which `finish` finds out and tells.
            if self._commit is not None or not isinstance(error, FileNotFoundError) or self._writing.exists():
                self._error = error
            if self._commit is not None:
                # This tells the other ranks. A file that cannot be deleted now is a leftover, which counts for nothing.
                shutil.rmtree(self._writing, ignore_errors=True)
        finally:
            self._pieces = []

    def finish(self) -> None:
        """Returns when the checkpoint is committed.

        Raises:
            UserError: the folder is full or cannot be written.
            TimeoutError: some rank did not save, or rank 0 did not commit.
            RuntimeError: rank 0 gave up.
            ValueError: the pieces are not whole tensors.
        """
        self.join()
        if self._error is not None:
            raise told(self._writing.parent, self._error) from self._error
        if self._commit is None:
            if not poll(lambda: not self._writing.exists(), self._timeout):
                raise TimeoutError(f"{self._writing}: rank 0 did not commit it within {self._timeout:g} s")
            # A renamed folder keeps its inode, so this is the folder that was written and not an earlier one of the
            # same step.
            if not self._target.exists() or self._target.stat().st_ino != self._inode:
                raise RuntimeError(f"{self._writing}: rank 0 could not commit it, and says why")

    def _write(self) -> StoredFile:
        name = f"rank={self._rank:05d}.safetensors"
        if not self._pieces:
            return StoredFile(name=name, num_bytes=0, crc32=0, pieces=())
        num_bytes, crc32 = write_tensors(self._writing / name, {piece.key: piece.values for piece in self._pieces})
        return StoredFile(name=name, num_bytes=num_bytes, crc32=crc32, pieces=tuple(map(_stored, self._pieces)))


def told(folder: Path, error: Exception) -> Exception:
    """The error that a person should see: a `UserError` for what they can mend, the original for all else."""
    if isinstance(error, OSError) and error.errno in _PERSONS:
        return UserError(str(folder), error.strerror, "use a folder that can be written and has space, and run again")
    return error


def _stored(piece: Piece) -> StoredPiece:
    return StoredPiece(
        name=piece.name,
        start=piece.start,
        length=piece.values.numel(),
        size=piece.size,
        dtype=DTYPES[piece.values.dtype],
        key=piece.key,
    )
