"""Which tokens go to which expert, sorted by expert, and which of them a capacity drops.

B batch, T tokens, R rows (tokens of all sequences), E experts, K chosen per token, A rows sorted by expert: one for
each of the R K choices but the dropped ones, and on a CPU a few more that only fill a slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from harmony_core import tiling

# Up to so many choices Python sorts faster than a dozen operations on small tensors.
FEW = 64
Slices = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Assignments:
    """The way from tokens to rows sorted by expert, and back.

    Args:
        token_A: the token of each row.
        place_RK: the row of each choice; 0 where it was dropped.
        kept_RK: whether a choice counts; None where all do.
    """

    token_A: Tensor
    place_RK: Tensor
    kept_RK: Tensor | None

    def spread(self, weights_RK: Tensor) -> Tensor:
        """The weight of each row, [A]; zero for rows that only fill a slice."""
        weights_A = weights_RK.new_zeros(len(self.token_A))
        return weights_A.index_add_(0, self.place_RK.flatten(), self._counted(weights_RK).flatten())

    def collect(self, values_A: Tensor) -> Tensor:
        """The value of each choice, [R, K]; zero for dropped ones."""
        return self._counted(values_A[self.place_RK])

    def combine(self, rows_AD: Tensor, weights_RK: Tensor | None = None) -> Tensor:
        """The weighted sum of each token's rows, [R, D]; dropped choices add nothing.

        Every token reads its own rows: no atomic sum, so the same bits on every device.
        """
        if not len(self.place_RK):
            return rows_AD.new_zeros(0, rows_AD.shape[1])
        if weights_RK is not None:
            weights_RK = self._counted(weights_RK)
        elif self.kept_RK is not None:
            weights_RK = self.kept_RK.to(rows_AD.dtype)
        return embedding_bag(self.place_RK, rows_AD, mode="sum", per_sample_weights=weights_RK)

    def _counted(self, values_RK: Tensor) -> Tensor:
        return values_RK if self.kept_RK is None else values_RK.masked_fill(~self.kept_RK, 0)


def sort_into_slices(
    chosen_RK: Tensor, kept_RK: Tensor | None, experts: int, even: bool = False, order_A: Tensor | None = None
) -> tuple[Assignments, Slices]:
    """A stable sort, and (expert, first row, row after its last) for each expert that has rows.

    On a CPU each slice of a long sort ends on a multiple of a few rows. oneDNN builds a kernel for every new shape, at
    nano size in 0.4 to 0.8 ms, longer than the product takes, and an expert's number of tokens is never the same
    twice. The rows that fill a slice repeat token 0, are read by nobody and have no gradient; they are at most 1/8 of
    an even slice, and no more than 63.

    Args:
        chosen_RK: int64 expert of each choice.
        kept_RK: which choices count, bool; None is all.
        experts: E.
        even: whether the slices of a short sort end on a multiple of 2.
        order_A: the choices sorted by expert, where that is known already and all count.
    """
    if chosen_RK.device.type == "cpu" and chosen_RK.numel() <= FEW:
        return _sort_few(chosen_RK, kept_RK, 2 if even else 1)
    key_A = _sort_key(chosen_RK, kept_RK, experts)
    counts_E = occurrences(key_A, experts + 1)[:experts]
    sizes_E = _aligned(counts_E, chosen_RK.numel())
    shifts_E = (sizes_E - counts_E).cumsum(0) - (sizes_E - counts_E)
    ends = sizes_E.cumsum(0).tolist()
    order_A = key_A.argsort(stable=True) if order_A is None else order_A
    if kept_RK is not None:
        order_A = order_A[: int(counts_E.sum())]
    places_A = torch.arange(len(order_A), device=key_A.device) + shifts_E[key_A[order_A]]
    token_A = key_A.new_zeros(ends[-1])
    token_A[places_A] = order_A.div(chosen_RK.shape[1], rounding_mode="floor")
    place_A = torch.zeros_like(key_A)
    place_A[order_A] = places_A
    slices = [(e, start, end) for e, (start, end) in enumerate(zip([0, *ends], ends, strict=False)) if end > start]
    return Assignments(token_A, place_A.view_as(chosen_RK), kept_RK), slices


def _aligned(counts_E: Tensor, choices: int) -> Tensor:
    """Counts rounded up to a power of two of rows, on a CPU."""
    align = tiling.row_alignment(choices, len(counts_E)) if counts_E.device.type == "cpu" else 1
    return (counts_E + align - 1).div(align, rounding_mode="floor") * align


def _sort_few(chosen_RK: Tensor, kept_RK: Tensor | None, align: int) -> tuple[Assignments, Slices]:
    chosen, choices = chosen_RK.flatten().tolist(), chosen_RK.shape[1]
    counted = range(len(chosen)) if kept_RK is None else kept_RK.flatten().nonzero().flatten().tolist()
    of_expert: dict[int, list[int]] = {}
    for choice in counted:
        of_expert.setdefault(chosen[choice], []).append(choice)
    tokens: list[int] = []
    place = [0] * len(chosen)
    slices: Slices = []
    for expert in sorted(of_expert):
        start = len(tokens)
        for row, choice in enumerate(of_expert[expert], start):
            place[choice] = row
            tokens.append(choice // choices)
        tokens += [0] * (-len(tokens) % align)
        slices.append((expert, start, len(tokens)))
    token_A, place_A = torch.tensor(tokens + place, dtype=torch.int64).split((len(tokens), len(place)))
    return Assignments(token_A, place_A.view_as(chosen_RK), kept_RK), slices


def sort_into_groups(
    chosen_RK: Tensor, kept_RK: Tensor | None, experts: int, order_A: Tensor | None = None
) -> tuple[Assignments, Tensor]:
    """A stable sort, and the row after each expert's last, int32 [E]: nothing waits for the device.

    There are always R K rows; those of dropped choices come after the last expert's.

    Args:
        chosen_RK: int64 expert of each choice.
        kept_RK: which choices count, bool; None is all.
        experts: E.
        order_A: the choices sorted by expert, where that is known already and all count.
    """
    key_A = _sort_key(chosen_RK, kept_RK, experts)
    ends_E = occurrences(key_A, experts + 1)[:experts].cumsum(0).to(torch.int32)
    order_A = key_A.argsort(stable=True) if order_A is None else order_A
    place_A = torch.empty_like(key_A)
    place_A[order_A] = torch.arange(len(order_A), device=key_A.device)
    place_RK = place_A.view_as(chosen_RK)
    if kept_RK is not None:
        place_RK = place_RK.where(kept_RK, 0)
    return Assignments(order_A.div(chosen_RK.shape[1], rounding_mode="floor"), place_RK, kept_RK), ends_E


def order_by_expert(counts_NX: Tensor, rows: int) -> Tensor:
    """The rows of several runs, each sorted by expert, in the order of a stable sort over all: int64 [S], no sort.

    Args:
        counts_NX: rows of each run and expert; the runs lie one after the other.
        rows: S, their sum, so that nothing waits for the device.
    """
    starts_NX = (counts_NX.flatten().cumsum(0) - counts_NX.flatten()).view_as(counts_NX)
    sizes, starts = counts_NX.T.flatten(), starts_NX.T.flatten()
    # Where a piece lies now, less where it will lie.
    moved = starts - (sizes.cumsum(0) - sizes)
    return torch.arange(rows, device=sizes.device) + moved.repeat_interleave(sizes, output_size=rows)


def occurrences(key_A: Tensor, size: int, weight_A: Tensor | None = None) -> Tensor:
    """How often each number from 0 to `size` - 1 is there, in the type of the weights: no wait, as `bincount` has one.

    Args:
        key_A: int64, each below `size`.
        size: numbers that are counted.
        weight_A: what each counts for; None is 1, in int64. Whole ones have the same sum in any order.
    """
    weight_A = torch.ones_like(key_A) if weight_A is None else weight_A
    return weight_A.new_zeros(size).scatter_add_(0, key_A, weight_A)


def _sort_key(chosen_RK: Tensor, kept_RK: Tensor | None, experts: int) -> Tensor:
    return (chosen_RK if kept_RK is None else chosen_RK.where(kept_RK, experts)).flatten()


def within_capacity(chosen_BTK: Tensor, experts: int, capacity: int) -> Tensor:
    """Whether each choice is among the first `capacity` that its expert gets from its sequence: bool [B, T, K].

    Positions in order, all of a token's choices before those of the next: no token's place depends on a later one.

    Args:
        chosen_BTK: int64 expert of each choice.
        experts: E.
        capacity: choices of a sequence that an expert takes.
    """
    batch = chosen_BTK.shape[0]
    sequence_B11 = torch.arange(batch, device=chosen_BTK.device).view(batch, 1, 1)
    key_A = (chosen_BTK + sequence_B11 * experts).flatten()
    counts = occurrences(key_A, batch * experts)
    order_A = key_A.argsort(stable=True)
    ranks_A = torch.arange(len(order_A), device=key_A.device) - (counts.cumsum(0) - counts)[key_A[order_A]]
    kept_A = torch.empty_like(order_A, dtype=torch.bool)
    kept_A[order_A] = ranks_A < capacity
    return kept_A.view_as(chosen_BTK)
