"""What a training has to remember, as named vectors that do not know the layout; and back into one.

Weights and AdamW's two moments of every parameter, and the buffers that blocks declare. A rank's share of a stack of
experts, or ZeRO's share of a parameter, is a range of the whole flattened tensor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from harmony_core.models import Stage
from harmony_core.models.parameter import declared_buffers, declared_parameters
from harmony_core.training.checkpoint import Piece
from harmony_core.training.rank_mesh import RankMesh

_MOMENTS = ("exp_avg", "exp_avg_sq")
# Names of buffers begin with this. The first buffer was a router's balancing bias, and stored checkpoints have that
# name.
BUFFERS = "bias"


class Reader(Protocol):
    """Where a state comes from; `harmony_core.training.checkpoint.Checkpoint` is one."""

    def fill(self, name: str, start: int, out: Tensor) -> None:
        """Copies a range of a flattened tensor.

        Args:
            name: the tensor's.
            start: first element.
            out: [length], takes the elements from `start` on.
        """


class StateCopy:
    """What one rank holds of a state, in host memory; a `Reader` for that rank under the same layout."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, int], Tensor] = {}

    def keep(self, name: str, start: int, values: Tensor) -> None:
        """Takes a copy of a range of a flattened tensor.

        Args:
            name: the tensor's.
            start: first element.
            values: [length].
        """
        self._values[name, start] = values.detach().to("cpu", copy=True)

    def fill(self, name: str, start: int, out: Tensor) -> None:
        """Copies a range that was kept.

        Args:
            name: the tensor's.
            start: first element.
            out: [length], of a range that was kept as it is.
        """
        out.copy_(self._values[name, start])


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a local parameter lies in the whole one, and who saves it.

    Args:
        name: qualified name in the model.
        first: its first element's place in the whole flattened tensor.
        size: elements of the whole tensor.
        saves: whether this rank saves what all ranks of the stage have.
        elsewhere: whether another stage saves it: the second place of tied embeddings.
    """

    name: str
    first: int
    size: int
    saves: bool
    elsewhere: bool


@dataclasses.dataclass(frozen=True)
class _Run:
    """Elements of an optimiser's tensor that belong to one parameter: [offset, offset + length) is [first, ..)."""

    place: _Place
    offset: int
    length: int
    first: int


class TrainingState:
    """The state of one rank.

    Args:
        stage: its part of the model.
        optimizer: AdamW over it; under ZeRO over flat partitions of it.
        zero: DeepSpeed's optimizer around that (stages 1 and 2), or None.
        mesh: where the rank stands.
    """

    def __init__(self, stage: Stage, optimizer: torch.optim.Optimizer, zero: Any, mesh: RankMesh) -> None:
        self._stage, self._optimizer, self._zero, self._mesh = stage, optimizer, zero, mesh
        self._places = dict(self._located())

    def pieces(self) -> Iterator[Piece]:
        """This rank's part; all ranks' parts are the whole state, each element once. Views, not copies."""
        for parameter, place in self._places.items():
            if place.saves:
                yield Piece(f"weights/{place.name}", place.first, place.size, parameter.detach().view(-1))
        for tensor, run in self._runs():
            # Without ZeRO each copy has all moments; with it each rank has its own.
            if run.place.elsewhere or (self._zero is None and not run.place.saves):
                continue
            for name, values in self._moments(tensor, run):
                yield Piece(name, run.first, run.place.size, values)
        if self._mesh.data_rank == 0:
            for name, buffer, _ in declared_buffers(self._stage):
                yield Piece(f"{BUFFERS}/{name}", 0, buffer.numel(), buffer.view(-1))

    def copy(self) -> StateCopy:
        """All that this rank holds, for `load` to put back."""
        kept = StateCopy()
        for parameter, place in self._places.items():
            kept.keep(f"weights/{place.name}", place.first, parameter.view(-1))
        for tensor, run in self._runs():
            for name, values in self._moments(tensor, run):
                kept.keep(name, run.first, values)
        for name, buffer, _ in declared_buffers(self._stage):
            kept.keep(f"{BUFFERS}/{name}", 0, buffer.view(-1))
        return kept

    @torch.no_grad()
    def load(self, reader: Reader, steps: int) -> None:
        """Fills weights, moments and buffers; `steps` optimiser steps have been done."""
        for parameter, place in self._places.items():
            reader.fill(f"weights/{place.name}", place.first, parameter.view(-1))
        if self._zero is not None:
            # The optimiser steps on fp32 copies of its share, so they are filled too.
            for copy, share in zip(self._zero.single_partition_of_fp32_groups, self._shares(), strict=True):
                copy.copy_(share)
        for tensor in dict.fromkeys(tensor for tensor, _ in self._runs()):
            self._optimizer.state[tensor] = {
                "step": torch.tensor(float(steps), device=tensor.device),
                **{moment: torch.zeros_like(tensor) for moment in _MOMENTS},
            }
        for tensor, run in self._runs():
            for moment in _MOMENTS:
                out = self._optimizer.state[tensor][moment].view(-1)[run.offset : run.offset + run.length]
                reader.fill(f"{moment}/{run.place.name}", run.first, out)
        for name, buffer, _ in declared_buffers(self._stage):
            reader.fill(f"{BUFFERS}/{name}", 0, buffer.view(-1))

    def _moments(self, tensor: Tensor, run: _Run) -> Iterator[tuple[str, Tensor]]:
        """Names and values of AdamW's moments of a parameter's part; zeros before the first step."""
        state = self._optimizer.state[tensor]
        for moment in _MOMENTS:
            flat = state[moment].view(-1) if state else torch.zeros(tensor.numel(), device=tensor.device)
            yield f"{moment}/{run.place.name}", flat[run.offset : run.offset + run.length]

    def _located(self) -> Iterator[tuple[nn.Parameter, _Place]]:
        layout, stage = self._mesh.layout, self._stage
        for number, (name, parameter, spec) in enumerate(declared_parameters(stage)):
            spread = layout.ep if spec.stacked else 1
            # Copies take turns at saving, so that no rank writes all.
            copies = layout.data_ranks // spread
            turn = number % copies == self._mesh.data_rank // spread
            elsewhere = parameter is stage.embedding and stage.is_last and not stage.is_first
            first = spec.first_expert * parameter[0].numel() if spec.stacked else 0
            yield parameter, _Place(name, first, parameter.numel() * spread, turn and not elsewhere, elsewhere)

    def _runs(self) -> Iterator[tuple[Tensor, _Run]]:
        """Of every tensor that the optimiser steps on, the parameters, or parts of them, in it."""
        if self._zero is None:
            for parameter, place in self._places.items():
                yield parameter, _Run(place, 0, parameter.numel(), place.first)
            return
        for group, (tensor, share) in enumerate(
            zip(self._zero.single_partition_of_fp32_groups, self._shares(), strict=True)
        ):
            flat = self._zero.bit16_groups_flat[group]
            begin = (share.data_ptr() - flat.data_ptr()) // flat.element_size()
            found = zip(
                self._zero.round_robin_bit16_groups[group], self._zero.round_robin_bit16_offsets[group], strict=True
            )
            for parameter, offset in found:
                first, last = max(offset, begin), min(offset + parameter.numel(), begin + share.numel())
                if first < last:
                    place = self._places[parameter]
                    yield tensor, _Run(place, first - begin, last - first, place.first + first - offset)

    def _shares(self) -> list[Tensor]:
        """By parameter group, this rank's partition of the flat parameters."""
        zero = self._zero
        ranks = [torch.distributed.get_rank(group) for group in zero.real_dp_process_group]
        return [parts[rank] for parts, rank in zip(zero.parallel_partitioned_bit16_groups, ranks, strict=True)]
