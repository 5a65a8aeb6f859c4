"""How one model's training is spread over processes. Pure configuration, no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from pydantic import Field

from harmony_core import bounds
from harmony_core.architecture import Architecture
from harmony_core.base import Frozen
from harmony_core.errors import UserError


class Layout(Frozen):
    """Pipeline x data x context ranks; experts are spread over neighbouring data ranks. It changes speed, not results.

    Rank r of `num_processes` is stage r // (dp x cp x tp); within a stage context ranks are next to each other.

    Args:
        pp: pipeline stages.
        dp: data-parallel replicas of a stage.
        ep: data ranks (dp x cp of them) that share one copy of the experts.
        cp: ranks that share a sequence.
        tp: ranks that share a matrix; the planner knows it, to compare with published runs, the trainer does not.
        zero_stage: what ZeRO (arXiv:1910.02054) spreads over data ranks: 0 nothing, 1 AdamW's moments, 2 gradients too.
        micro_batch_size: sequences of a forward pass on one replica; None is the replica's whole share of a batch.
        activation_checkpointing: whether blocks are computed again for their backward pass.
    """

    pp: int = Field(default=1, ge=1, le=bounds.DEVICES)
    dp: int = Field(default=1, ge=1, le=bounds.DEVICES)
    ep: int = Field(default=1, ge=1, le=bounds.DEVICES)
    cp: int = Field(default=1, ge=1, le=bounds.DEVICES)
    tp: int = Field(default=1, ge=1, le=bounds.DEVICES)
    zero_stage: int = Field(default=0, ge=0, le=2)
    micro_batch_size: int | None = Field(default=None, ge=1, le=bounds.BATCH)
    activation_checkpointing: bool = False

    @property
    def num_processes(self) -> int:
        """Ranks, one device each."""
        return self.pp * self.stage_size

    @property
    def stage_size(self) -> int:
        """Ranks of one pipeline stage."""
        return self.data_ranks * self.tp

    @property
    def data_ranks(self) -> int:
        """Ranks whose gradients are averaged: replicas, and the ranks that share their sequences."""
        return self.dp * self.cp

    def micro_batch(self, batch_size: int) -> int:
        """Sequences of a forward pass on one replica."""
        return self.micro_batch_size or batch_size // self.dp

    def num_micro_batches(self, batch_size: int) -> int:
        """Forward passes of one replica in a step."""
        return batch_size // (self.dp * self.micro_batch(batch_size))

    def check(self, architecture: Architecture, batch_size: int, sequence_length: int) -> None:
        """Refuses what cannot be trained this way, before anything is allocated.

        Args:
            architecture: the model.
            batch_size: sequences of a step, of all ranks together.
            sequence_length: tokens.

        Raises:
            UserError: names what does not fit, and the nearest layout that does: of as many processes, else of fewer.
        """
        problem = self.problem(architecture, batch_size, sequence_length)
        if problem is None:
            return
        field, reason = problem
        near = nearest(self, architecture, batch_size, sequence_length)
        if near is None:
            near = _nearest_of_fewer(self, architecture, batch_size, sequence_length)
            fix = f"use another number of processes, {near.num_processes} for example: {near}"
        else:
            fix = f"the nearest layout that fits: {near}"
        raise UserError(f"layout.{field}", getattr(self, field), f"{reason}; {fix}")

    def check_documents(self) -> None:
        """Refuses to keep documents apart where not every rank of a sequence has all of its tokens.

        Raises:
            UserError: names the size that is too large.
        """
        for name, problem in (("pp", "later stages have no tokens"), ("cp", "no rank has all tokens")):
            if getattr(self, name) > 1:
                fix = f"{problem} to find documents in; use {name} 1, or no recipe.document_boundaries"
                raise UserError(f"layout.{name}", getattr(self, name), fix)

    def problem(self, architecture: Architecture, batch_size: int, sequence_length: int) -> tuple[str, str] | None:
        """The first field that does not fit this training, and why; None if all do.

        Args:
            architecture: the model.
            batch_size: sequences of a step, of all ranks together.
            sequence_length: tokens.
        """
        if self.pp > len(architecture.blocks):
            return "pp", f"the model has {len(architecture.blocks)} blocks, and a stage needs one"
        if batch_size % self.dp:
            return "dp", f"it does not divide the batch of {batch_size} sequences"
        share = batch_size // self.dp
        if self.micro_batch_size is not None and share % self.micro_batch_size:
            return "micro_batch_size", f"it does not divide the {share} sequences of a replica"
        if self.pp > 1 and self.zero_stage > 1:
            return "zero_stage", "a pipeline needs whole gradients until the step ends; use 0 or 1"
        return self._expert_problem(architecture) or self._context_problem(architecture, sequence_length)

    def _expert_problem(self, architecture: Architecture) -> tuple[str, str] | None:
        if self.ep == 1:
            return None
        if self.data_ranks % self.ep:
            return "ep", f"it does not divide the {self.data_ranks} data ranks (dp x cp)"
        routed = [block.num_experts for block in architecture.blocks if block.num_experts]
        if not routed:
            return "ep", "the model has no experts to spread"
        if any(experts % self.ep for experts in routed):
            return "ep", f"it does not divide the {'/'.join(str(n) for n in sorted(set(routed)))} experts of the blocks"
        return None

    def _context_problem(self, architecture: Architecture, sequence_length: int) -> tuple[str, str] | None:
        if self.cp == 1:
            return None
        if sequence_length % self.cp:
            return "cp", f"it does not divide the sequence of {sequence_length} tokens"
        for index, block in enumerate(architecture.blocks):
            problem = block.context_problem(architecture.d_model, self.cp)
            if problem is not None:
                return "cp", f"block {index} ({block.kind}) {problem}"
        return None

    def __str__(self) -> str:
        sizes = [f"{name}{getattr(self, name)}" for name in ("pp", "dp", "ep", "cp", "tp") if getattr(self, name) > 1]
        micro = "" if self.micro_batch_size is None else f" micro-batch {self.micro_batch_size}"
        again = " checkpointed" if self.activation_checkpointing else ""
        return f"{' x '.join(sizes) or 'one process'} ZeRO-{self.zero_stage}{micro}{again}"


def fitting(asked: Layout, architecture: Architecture, batch_size: int, sequence_length: int) -> Layout:
    """The layout itself where it fits, else the nearest one that does.

    Args:
        asked: the layout that is wanted.
        architecture: the model.
        batch_size: sequences of a step, of all ranks together.
        sequence_length: tokens.

    Raises:
        UserError: none does.
    """
    if asked.problem(architecture, batch_size, sequence_length) is None:
        return asked
    near = nearest(asked, architecture, batch_size, sequence_length)
    if near is None:
        asked.check(architecture, batch_size, sequence_length)
        raise AssertionError("check refuses what has a problem")
    return near


def layouts(num_processes: int, max_ep: int = 1, max_cp: int = 1) -> Iterator[Layout]:
    """Every pp x dp x cp of so many processes, with every ep, all else at its default.

    Args:
        num_processes: of all ranks.
        max_ep: most expert ranks; each number up to it that divides the data ranks is tried.
        max_cp: context ranks are its divisors.
    """
    for pp, cp in itertools.product(_divisors(num_processes), _divisors(max_cp)):
        if num_processes % (pp * cp):
            continue
        data_ranks = num_processes // pp
        for ep in _divisors(data_ranks):
            if ep <= max_ep:
                yield Layout(pp=pp, dp=data_ranks // cp, cp=cp, ep=ep)


def nearest(
    asked: Layout, architecture: Architecture, batch_size: int, sequence_length: int, num_processes: int | None = None
) -> Layout | None:
    """The layout that fits and changes the asked one least: fewest doublings, then fewest fields.

    Sizes of dp, ep, pp and cp, the ZeRO stage and the micro-batch may change; tp may not.

    Args:
        asked: a layout.
        architecture: what is trained.
        batch_size: sequences a step.
        sequence_length: tokens a sequence.
        num_processes: of the layout that is looked for; None is as many as were asked for.
    """
    many = (num_processes or asked.num_processes) // asked.tp
    experts = max(1, *(block.num_experts for block in architecture.blocks))
    best: tuple[float, Layout] | None = None
    for sizes in layouts(many, experts, asked.cp):
        changed = sizes.model_copy(
            update={"tp": asked.tp, "activation_checkpointing": asked.activation_checkpointing}
            | {"zero_stage": min(asked.zero_stage, 1) if sizes.pp > 1 else asked.zero_stage}
        )
        if batch_size % changed.dp == 0 and asked.micro_batch_size is not None:
            share = batch_size // changed.dp
            size = max(n for n in _divisors(share) if n <= asked.micro_batch_size)
            changed = changed.model_copy(update={"micro_batch_size": size})
        if changed.problem(architecture, batch_size, sequence_length) is None:
            distance = _distance(asked, changed, batch_size)
            if best is None or distance < best[0]:
                best = (distance, changed)
    return None if best is None else best[1]


def _nearest_of_fewer(asked: Layout, architecture: Architecture, batch_size: int, sequence_length: int) -> Layout:
    """The nearest layout of the most processes, fewer than were asked for, of which one fits."""
    most = len(architecture.blocks) * batch_size * asked.cp
    for number in range(min(asked.num_processes // asked.tp - 1, most), 0, -1):
        near = nearest(asked, architecture, batch_size, sequence_length, number * asked.tp)
        if near is not None:
            return near
    raise AssertionError("one process fits every training")


def _distance(a: Layout, b: Layout, batch_size: int) -> float:
    doublings = sum(abs(math.log2(getattr(a, name) / getattr(b, name))) for name in ("pp", "dp", "ep", "cp"))
    micro = abs(math.log2(max(a.micro_batch(batch_size), 1) / max(b.micro_batch(batch_size), 1)))
    return doublings + micro / 8 + abs(a.zero_stage - b.zero_stage) / 8


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return small + [number // n for n in reversed(small) if n * n < number]
