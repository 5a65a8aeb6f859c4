"""Which tensor of a checkpoint holds which rows of ours: one declaration, read in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harmony_core.errors import UserError
from harmony_core.models.ops.attention.rotary import halves_from_pairs, pairs_from_halves

# Types whose values are the weights; of any other they are codes, which belong to scales beside them.
_PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Reordering:
    """A change of layout, or of what is stored of a value, and its inverse.

    Args:
        to_ours: from a tensor of theirs.
        to_theirs: back.
    """

    to_ours: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


SAME = Reordering(lambda w: w, lambda w: w)
# A depthwise convolution's weight [C, 1, K] is [C, K] here.
CONVOLUTION = Reordering(lambda w: w.squeeze(1), lambda w: w.unsqueeze(1))


def rotary(head_dim: int, start: int, width: int) -> Reordering:
    """A head's rotary elements, which turn in halves in theirs, in pairs in ours.

    Args:
        head_dim: rows of a head.
        start: its first element that turns.
        width: elements that turn, even.
    """

    def apply(change: Callable[[Tensor, int], Tensor], w: Tensor) -> Tensor:
        before, turning, after = w.unflatten(0, (-1, head_dim)).tensor_split((start, start + width), 1)
        turning = change(turning.flatten(0, 1), width).view_as(turning)
        return torch.cat((before, turning, after), 1).flatten(0, 1)

    return Reordering(lambda w: apply(pairs_from_halves, w), lambda w: apply(halves_from_pairs, w))


def scaled(factor: float) -> Reordering:
    """Values that are multiplied in theirs when they are used, and are multiplied already in ours."""
    return Reordering(lambda w: w * factor, lambda w: w / factor)


@dataclass(frozen=True)
class Part:
    """A tensor of theirs and the rows of ours that it is.

    Args:
        name: its key.
        rows: how many rows; None is all of them.
        order: how they are laid out.
    """

    name: str
    rows: int | None = None
    order: Reordering = SAME


@dataclass(frozen=True)
class Weight:
    """A tensor of ours as rows of theirs, one part after the other.

    Args:
        ours: its key.
        parts: theirs, in order.
    """

    ours: str
    parts: tuple[Part, ...]

    def split(self, tensor: Tensor) -> dict[str, Tensor]:
        """Theirs, by key, from ours."""
        rows = [tensor.shape[0] if part.rows is None else part.rows for part in self.parts]
        pieces = zip(self.parts, tensor.split(rows), strict=True)
        return {part.name: part.order.to_theirs(piece).contiguous() for part, piece in pieces}


def centred(weight: Weight, ends: tuple[str, ...]) -> Weight:
    """The tensor with those of its parts whose keys end so as they are stored: less one."""
    return Weight(weight.ours, tuple(_less_one(part) if part.name.endswith(ends) else part for part in weight.parts))


def _less_one(part: Part) -> Part:
    order = part.order
    stored = Reordering(lambda w: order.to_ours(w) + 1, lambda w: order.to_theirs(w) - 1)
    return replace(part, order=stored)


def same(ours: str, theirs: str) -> Weight:
    """One tensor, as it is."""
    return Weight(ours, (Part(theirs),))


def joined(ours: str, theirs: Iterable[str], rows: int) -> Weight:
    """Several tensors of as many rows, one below the other.

    Args:
        ours: the tensor's key here.
        theirs: their keys there, in order.
        rows: of each.
    """
    return Weight(ours, tuple(Part(name, rows) for name in theirs))


@torch.no_grad()
def load(weights: Iterable[Weight], ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], where: str) -> None:
    """Fills our tensors, in their type, from a checkpoint's; every tensor on both sides is used exactly once.

    Args:
        weights: the declaration.
        ours: tensors to fill, by key.
        theirs: the checkpoint, by key.
        where: the checkpoint's name in errors.

    Raises:
        UserError: a tensor is missing, has another shape, has no values, or nothing here corresponds to it.
    """
    left, empty = dict(theirs), dict(ours)
    for weight in weights:
        target = empty.pop(weight.ours)
        pieces = weight.split(torch.empty(target.shape, device="meta"))
        taken = [_take(left, name, piece.shape, where) for name, piece in pieces.items()]
        target.copy_(torch.cat([part.order.to_ours(w) for part, w in zip(weight.parts, taken, strict=True)]))
    assert not empty, f"no weights for {sorted(empty)}"
    for name, tensor in left.items():
        if tensor.numel():
            fix = "no tensor here corresponds to it; give the plain model, without adapters or further heads"
            raise UserError(f"{where}.{name}", list(tensor.shape), fix)


def _take(left: dict[str, Tensor], name: str, shape: torch.Size, where: str) -> Tensor:
    if name not in left:
        raise UserError(f"{where}.{name}", "missing", f"give the model with this tensor of shape {list(shape)}")
    tensor = left.pop(name)
    if tensor.shape != shape:
        raise UserError(f"{where}.{name}", f"shape {list(tensor.shape)}", f"its configuration asks for {list(shape)}")
    if tensor.dtype not in _PLAIN:
        fix = "stored in a quantised form; give the model dequantised, such as from_pretrained with a dtype makes it"
        raise UserError(f"{where}.{name}", str(tensor.dtype), fix)
    if tensor.is_meta:
        raise UserError(f"{where}.{name}", "on the meta device", "load the model's values first")
    return tensor
