"""A range of a named flat vector: what one rank has of the state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = {torch.float32: "F32", torch.int64: "I64"}  # as safetensors calls them


@dataclass(frozen=True)
class Piece:
    """The elements [start, start + len(values)) of a tensor that was flattened in row-major order.

    Args:
        name: of the tensor, the same under every layout ("weights/blocks.3.inner.up", "exp_avg/blocks.3.inner.up").
        start: place of the first element in the whole tensor; experts are stacked on dimension 0.
        size: elements of the whole tensor.
        values: `[length]`, contiguous, float32 or int64, on any device.

    Raises:
        ValueError: values of another shape or type, or a range outside of the tensor.
    """

    name: str
    start: int
    size: int
    values: Tensor

    def __post_init__(self) -> None:
        if self.values.dim() != 1 or not self.values.is_contiguous() or self.values.dtype not in DTYPES:
            found = f"{tuple(self.values.shape)} {self.values.dtype}"
            raise ValueError(f"{self.name}: values {found} must be a contiguous vector of float32 or int64")
        if not 0 <= self.start <= self.start + self.values.numel() <= self.size:
            end = self.start + self.values.numel()
            raise ValueError(f"{self.name}: [{self.start}, {end}) is no range of {self.size} elements")

    @property
    def key(self) -> str:
        """Its name inside a file."""
        return f"{self.name}[{self.start}:{self.start + self.values.numel()}]"


def snapshot(pieces: Iterable[Piece]) -> list[Piece]:
    """Copies of the pieces in host memory, which the next optimiser step does not change; empty ones are left out."""
    return [
        Piece(piece.name, piece.start, piece.size, piece.values.detach().to("cpu", copy=True))
        for piece in pieces
        if piece.values.numel()
    ]
