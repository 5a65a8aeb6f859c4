"""Whether pieces make whole tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from harmony_core.training.checkpoint.manifest import StoredFile, StoredPiece


def check_coverage(files: Iterable[StoredFile]) -> None:
    """Checks that every element of every named tensor is in exactly one piece.

    Raises:
        ValueError: names the tensor, the elements and the files. It is a mistake in the layout's code.
    """
    by_name: dict[str, list[tuple[StoredPiece, str]]] = defaultdict(list)
    for file in files:
        for piece in file.pieces:
            by_name[piece.name].append((piece, file.name))
    for name, found in by_name.items():
        _check_tensor(name, sorted(found, key=lambda entry: entry[0].start))


def _check_tensor(name: str, found: list[tuple[StoredPiece, str]]) -> None:
    first, before = found[0]
    end = 0
    for piece, file in found:
        if (piece.size, piece.dtype) != (first.size, first.dtype):
            one, other = f"{first.size} of {first.dtype}", f"{piece.size} of {piece.dtype}"
            raise ValueError(f"{name}: {one} elements in {found[0][1]}, {other} in {file}")
        if piece.start > end:
            raise ValueError(f"{name}: no rank saved elements [{end}, {piece.start})")
        if piece.start < end:
            raise ValueError(f"{name}: elements from {piece.start} on are in both {before} and {file}")
        end, before = piece.start + piece.length, file
    if end < first.size:
        raise ValueError(f"{name}: no rank saved elements [{end}, {first.size})")
