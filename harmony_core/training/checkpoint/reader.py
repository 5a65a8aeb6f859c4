"""Reads checkpoints under any layout: whoever asks gets the range of a tensor that it needs, and reads no more."""

from __future__ import annotations

import bisect
import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from safetensors import safe_open
from torch import Tensor

from harmony_core.errors import UserError
from harmony_core.training.checkpoint.folders import committed
from harmony_core.training.checkpoint.manifest import Damaged, Manifest, StoredFile, StoredPiece
from harmony_core.training.checkpoint.tensor_file import checksum

_LOG = logging.getLogger(__name__)


class Checkpoint:
    """A committed checkpoint; a context manager, since its files stay mapped into memory until `close`.

    Args:
        path: its folder.

    Attributes:
        facts: what the trainer said of itself.
        step: optimiser steps done.

    Raises:
        Damaged: its manifest is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest = Manifest.read(path)
        self.facts: dict[str, Any] = self._manifest.facts
        self.step = self._manifest.step
        self._pieces: dict[str, list[tuple[StoredPiece, str]]] = defaultdict(list)
        for file in self._manifest.files:
            for piece in file.pieces:
                self._pieces[piece.name].append((piece, file.name))
        for pieces in self._pieces.values():
            pieces.sort(key=lambda entry: entry[0].start)
        self._open: dict[str, Any] = {}

    def names(self) -> set[str]:
        """Names of the tensors."""
        return set(self._pieces)

    def size(self, name: str) -> int:
        """Elements of the whole tensor `name`."""
        return self._pieces[name][0][0].size

    def fill(self, name: str, start: int, out: Tensor) -> None:
        """Copies the elements [start, start + len(out)) of the flattened tensor `name` into `out`.

        Args:
            name: one of `names()`.
            start: first element.
            out: `[length]`, on any device; floating-point if the tensor is, of any width.

        Raises:
            UserError: the checkpoint has no such tensor.
            ValueError: it has no such elements, or `out` is not fit for them.
        """
        if name not in self._pieces:
            raise UserError(str(self.path), name, "no such tensor in this checkpoint; use one of the same architecture")
        pieces, stop = self._pieces[name], start + out.numel()
        whole = pieces[0][0]
        if out.dim() != 1 or not 0 <= start <= stop <= whole.size:
            raise ValueError(f"{name}: {tuple(out.shape)} from {start} on is no range of {whole.size} elements")
        if out.is_floating_point() != (whole.dtype == "F32"):
            raise ValueError(f"{name}: {whole.dtype} does not become {out.dtype}")
        position = bisect.bisect_right(pieces, start, key=lambda entry: entry[0].start) - 1
        done = start
        while done < stop:
            piece, file = pieces[position]
            end = min(stop, piece.start + piece.length)
            values = self._file(file).get_slice(piece.key)[done - piece.start : end - piece.start]
            out[done - start : end - start].copy_(values)
            done, position = end, position + 1

    def check(self, rank: int = 0, world_size: int = 1) -> None:
        """Compares every `world_size`-th file, from the `rank`-th on, with its size and checksum.

        Raises:
            Damaged: the first file that is not what was written.
        """
        for file in self._manifest.files[rank::world_size]:
            _check_file(self.path / file.name, file)

    def close(self) -> None:
        """Lets go of the files."""
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _file(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = safe_open(self.path / name, framework="pt", device="cpu")
        return self._open[name]


def newest(
    folder: Path,
    *,
    rank: int = 0,
    world_size: int = 1,
    agree: Callable[[bool], bool] = bool,
    log: Callable[[str], object] = _LOG.warning,
) -> Checkpoint | None:
    """The newest checkpoint that is whole; one that is damaged is named in a warning and passed over.

    Args:
        folder: where the checkpoints lie; one without any is fine.
        rank: of those that look together, each reads a share of the files to check them.
        world_size: how many they are.
        agree: given whether this rank's share is whole, says whether everybody's is (a minimum over all ranks).
        log: takes the warnings; only a rank that found damage has one.

    Raises:
        UserError: another version of HARMONY wrote it.
    """
    for path in committed(folder).values():
        checkpoint, error = _opened(path, rank, world_size)
        if agree(error is None) and checkpoint is not None:
            return checkpoint
        if error is not None:
            log(f"checkpoint passed over: {error.field}: {error.value}")
    return None


def open_checkpoint(
    path: Path, *, rank: int = 0, world_size: int = 1, agree: Callable[[bool], bool] = bool
) -> Checkpoint:
    """One checkpoint, checked.

    Args:
        path: its folder.
        rank: of those that look together, each reads a share of the files to check them.
        world_size: how many they are.
        agree: given whether this rank's share is whole, says whether everybody's is (a minimum over all ranks).

    Raises:
        UserError: it is damaged, or another version of HARMONY wrote it.
    """
    checkpoint, error = _opened(path, rank, world_size)
    if agree(error is None) and checkpoint is not None:
        return checkpoint
    raise error or Damaged(str(path), "another rank found it damaged", "use another checkpoint")


def _opened(path: Path, rank: int, world_size: int) -> tuple[Checkpoint | None, Damaged | None]:
    """A checkpoint whose share of this rank is whole, or what is wrong with it."""
    try:
        checkpoint = Checkpoint(path)
        checkpoint.check(rank, world_size)
    except Damaged as error:
        return None, error
    return checkpoint, None


def _check_file(path: Path, expected: StoredFile) -> None:
    fix = "use another checkpoint"
    try:
        num_bytes = path.stat().st_size
        if num_bytes != expected.num_bytes:
            raise Damaged(str(path), f"{num_bytes} bytes of {expected.num_bytes}", fix)
        if checksum(path) != expected.crc32:
            raise Damaged(str(path), "its content has changed", fix)
    except OSError as error:
        raise Damaged(str(path), error.strerror, fix) from error
