"""Ranks of a training that are objects of one process; a save's own threads let them meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harmony_core.training.checkpoint import Checkpoint, CheckpointWriter, Piece

SHAPES = {
    "weights/embedding": (37,),
    "weights/blocks.3.inner.up": (8, 6),  # eight experts
    "exp_avg/blocks.3.inner.up": (8, 6),
    "exp_avg/embedding": (37,),
    "bias/blocks.1.inner.router.bias_E": (8,),
}
TOKENS = "state/tokens_per_expert"


def state(seed: int = 0) -> dict[str, Tensor]:
    """Tensors by name, random, one of them of whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return tensors | {TOKENS: torch.randint(0, 2**62, (8,), generator=generator)}


def cut(name: str, tensor: Tensor, bounds: Sequence[int]) -> list[Piece]:
    """The ranges between neighbouring `bounds` of a flattened tensor."""
    flat = tensor.flatten()
    return [Piece(name, begin, flat.numel(), flat[begin:end]) for begin, end in itertools.pairwise(bounds)]


def writers(folder: Path, world_size: int, **options: Any) -> list[CheckpointWriter]:
    """All ranks' writers, past the barrier that follows their construction."""
    return [CheckpointWriter(folder, rank, world_size, **options) for rank in range(world_size)]


def save_all(
    ranks: Sequence[CheckpointWriter],
    step: int,
    pieces: Sequence[Iterable[Piece]],
    facts: Mapping[str, Any] | None = None,
    score: float | None = None,
) -> None:
    """Saves on all ranks and waits for the commit."""
    for writer, own in zip(ranks, pieces, strict=True):
        writer.save(step, own, dict(facts or {}), score=score)
    for writer in ranks:
        writer.wait()


def save_alone(writer: CheckpointWriter, step: int, seed: int | None = None, score: float | None = None) -> None:
    """Saves the whole state of `seed` (or of the step) on the only rank and waits."""
    writer.save(step, whole(state(step if seed is None else seed)), {"step": step}, score=score, wait=True)


def whole(tensors: Mapping[str, Tensor]) -> list[Piece]:
    """Each tensor as one piece."""
    return [Piece(name, 0, tensor.numel(), tensor.flatten()) for name, tensor in tensors.items()]


def read_all(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of `state`, as one rank reads them."""
    found = {name: torch.empty_like(tensor) for name, tensor in state().items()}
    for name, tensor in found.items():
        checkpoint.fill(name, 0, tensor.view(-1))
    return found


def assert_state(checkpoint: Checkpoint | None, seed: int) -> None:
    """The checkpoint is there and holds the state of `seed`, bit by bit."""
    assert checkpoint is not None
    with checkpoint:
        found = read_all(checkpoint)
    for name, tensor in state(seed).items():
        assert torch.equal(found[name], tensor), name
