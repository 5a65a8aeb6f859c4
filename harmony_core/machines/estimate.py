"""One training step under one layout: its time by cause, its memory by stage, and whether it fits.

    seconds = sum over stages + (micro-batches - 1) x the slowest stage           (1F1B, `schedule.py`)
            + the slowest stage's reduction of gradients + its optimiser

A stage's seconds are those of its blocks (`block_cost.py`) and of the messages to its neighbours. Nothing overlaps but
what `Assumptions` say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.machines.block_cost import CAUSES, Array, ModelCost, model_cost
from harmony_core.machines.communication import (
    all_gather_seconds,
    all_reduce_seconds,
    reduce_scatter_seconds,
    send_seconds,
)
from harmony_core.machines.layout import Layout
from harmony_core.machines.machine import Machine
from harmony_core.machines.partition import Fits, Partition, balanced
from harmony_core.machines.schedule import pipeline_seconds
from harmony_core.machines.stage_memory import MemoryModel, StageMemory
from harmony_core.machines.step import TrainingStep
from harmony_core.machines.topology import Group, data_group, expert_data_group, stage_group

_STAGE_CAUSES = (*CAUSES, "point-to-point")
# The time of embedding and head is shown with what blocks compute.
_ENDS = CAUSES.index("arithmetic")


@dataclass(frozen=True)
class Estimate:
    """What a layout is predicted to do.

    Args:
        layout: how the training is spread.
        stages: the blocks of each pipeline stage.
        seconds: of one step.
        causes: the same seconds by what they go to, those of blocks as a mean over stages; they add up.
        memory: of one rank of each stage.
        memory_limit: bytes that tensors can have on a device.
        tokens_per_second: of all devices together.
        model_flops_utilization: FLOPs of the model, nothing computed twice, over the devices' peak.
    """

    layout: Layout
    stages: Partition
    seconds: float
    causes: Mapping[str, float]
    memory: tuple[StageMemory, ...]
    memory_limit: float
    tokens_per_second: float
    model_flops_utilization: float

    @property
    def peak_memory(self) -> float:
        """Bytes on a device of the fullest stage."""
        return max(stage.total for stage in self.memory)

    @property
    def excess_memory(self) -> float:
        """Bytes that the fullest device lacks; 0 or less if the layout fits."""
        return self.peak_memory - self.memory_limit

    @property
    def fits(self) -> bool:
        """Whether every stage fits a device."""
        return self.excess_memory <= 0

    @property
    def bound(self) -> str:
        """What most time goes to."""
        return max(self.causes, key=lambda cause: self.causes[cause])


class Estimator:
    """Estimates of many layouts of one training; what they share is computed once.

    Args:
        architecture: what is trained.
        machine: on what, with its links.
        step: the batch and the assumptions.
    """

    def __init__(self, architecture: Architecture, machine: Machine, step: TrainingStep) -> None:
        self.architecture, self.step = architecture, step
        self.machine = with_network(machine, step.assumptions.network_bandwidth)
        self._costs: dict[tuple[int, ...], ModelCost] = {}
        self._cuts: dict[tuple[int, ...], Partition] = {}
        self._flops_per_token = architecture.flops_per_token(step.sequence_length, "train")

    def estimate(self, layout: Layout) -> Estimate:
        """The step under a possible layout (`Layout.problem`); one that does not fit is cut for time alone."""
        cost, memory = self._cost(layout), self._memory(layout)
        stages = self.cut(layout) or self._fastest_cut(layout)
        per_stage = self._per_stage(cost, layout, stages)
        micro_batches = layout.num_micro_batches(self.step.batch_size)
        totals = per_stage.sum(0)
        causes = dict(zip(_STAGE_CAUSES, micro_batches * per_stage.mean(1), strict=True))
        causes["uneven stages"] = micro_batches * (totals.max() - totals.mean())
        causes["bubble"] = pipeline_seconds(totals, micro_batches) - micro_batches * totals.max()
        reduction, optimizer = self._after_backward(cost, layout, stages)
        causes |= {"gradients": reduction, "optimizer": optimizer}
        seconds = float(sum(causes.values()))
        peak = layout.num_processes * self.machine.compute(self.step.precision).peak_flops.value
        return Estimate(
            layout=layout,
            stages=stages,
            seconds=seconds,
            causes={cause: float(value) for cause, value in causes.items() if value > 1e-9 * seconds},
            memory=tuple(memory.stage(i, blocks.start, blocks.stop) for i, blocks in enumerate(stages)),
            memory_limit=self.machine.usable_memory_bytes,
            tokens_per_second=self.step.tokens / seconds,
            model_flops_utilization=self.step.tokens * self._flops_per_token / (seconds * peak),
        )

    def cut(self, layout: Layout) -> Partition | None:
        """The blocks of each stage such that the slowest is fastest and all fit the memory; None if no cut fits."""
        memory, limit = self._memory(layout), self.machine.usable_memory_bytes

        def fits(stage: int, start: int, stop: int) -> bool:
            return memory.stage(stage, start, stop).total <= limit

        fastest = self._fastest_cut(layout)
        if all(fits(stage, blocks.start, blocks.stop) for stage, blocks in enumerate(fastest)):
            return fastest
        return self._balanced(layout, fits)

    def _fastest_cut(self, layout: Layout) -> Partition:
        key = (*self._key(layout), layout.pp)
        if key not in self._cuts:
            found = self._balanced(layout)
            assert found is not None, "without a limit on memory there is always a cut"
            self._cuts[key] = found
        return self._cuts[key]

    def _balanced(self, layout: Layout, fits: Fits | None = None) -> Partition | None:
        cost = self._cost(layout)
        return balanced(cost.seconds.sum(0).tolist(), layout.pp, cost.embedding_seconds, cost.head_seconds, fits)

    def _key(self, layout: Layout) -> tuple[int, ...]:
        micro = layout.micro_batch(self.step.batch_size)
        return micro, layout.ep, layout.cp, layout.tp, int(layout.activation_checkpointing)

    def _cost(self, layout: Layout) -> ModelCost:
        key = self._key(layout)
        if key not in self._costs:
            self._costs[key] = model_cost(self.architecture, self.machine, layout, self.step)
        return self._costs[key]

    def _memory(self, layout: Layout) -> MemoryModel:
        return MemoryModel(self._cost(layout), layout, self.step, self.architecture)

    def _per_stage(self, cost: ModelCost, layout: Layout, stages: Partition) -> Array:
        """Seconds of a micro-batch [causes, stages], messages between stages last."""
        sums = np.concatenate([np.zeros((len(CAUSES), 1)), cost.seconds.cumsum(1)], 1)
        bounds = [blocks.start for blocks in stages] + [stages[-1].stop]
        per_stage = np.zeros((len(_STAGE_CAUSES), layout.pp))
        per_stage[: len(CAUSES)] = np.diff(sums[:, bounds])
        per_stage[_ENDS, 0] += cost.embedding_seconds
        per_stage[_ENDS, -1] += cost.head_seconds
        per_stage[-1] = self._message_seconds(layout)
        return per_stage

    def _message_seconds(self, layout: Layout) -> float:
        """A micro-batch's activations to the next stage and their gradient back."""
        if layout.pp == 1:
            return 0.0
        return 2 * send_seconds(self.machine, stage_group(layout), self.message_bytes(layout))

    def message_bytes(self, layout: Layout) -> float:
        """What a rank sends to the next stage of a micro-batch, and gets back as a gradient; tensor ranks a share each.

        It is in the precision of products, as `training/stage_pass.py` sends it.
        """
        elements = layout.micro_batch(self.step.batch_size) * self.step.sequence_length * self.architecture.d_model
        return elements * self.step.element / (layout.cp * layout.tp)

    def _after_backward(self, cost: ModelCost, layout: Layout, stages: Partition) -> tuple[float, float]:
        """Seconds of the gradients' reduction and of the optimiser, of the stage where they take longest."""
        memory, groups = self._memory(layout), (data_group(layout), expert_data_group(layout))
        reductions, updates = [], []
        for stage, blocks in enumerate(stages):
            held = memory.params(stage, blocks.start, blocks.stop)
            reduction = sum(self.gradient_seconds(layout, *one) for one in zip(groups, held, strict=True))
            reductions.append(reduction * (1 - self.step.assumptions.gradient_overlap))
            owners = [group.size if layout.zero_stage else 1 for group in groups]
            updated = sum(params / ranks for params, ranks in zip(held, owners, strict=True))
            updates.append(cost.optimizer_start_seconds + updated * cost.optimizer_seconds_per_param)
        return max(reductions) + self._tied_seconds(layout), max(updates)

    def gradient_seconds(self, layout: Layout, group: Group, params: float) -> float:
        """Gradients added up over the ranks that hold the same parameters.

        ZeRO-0 all-reduces them; ZeRO-1 gives each rank its share and gathers the new weights; ZeRO-2 does the first
        after every micro-batch, for it keeps no whole gradients.

        Args:
            layout: gives the ZeRO stage, and the micro-batches of a step.
            group: ranks that hold the same parameters.
            params: how many each holds.
        """
        state = self.step.state
        if layout.zero_stage == 0:
            return all_reduce_seconds(self.machine, group, params * state.gradient)
        times = layout.num_micro_batches(self.step.batch_size) if layout.zero_stage == 2 else 1
        scattered = times * reduce_scatter_seconds(self.machine, group, params * state.gradient)
        return scattered + all_gather_seconds(self.machine, group, params * state.weight)

    def _tied_seconds(self, layout: Layout) -> float:
        """First and last stage add up the gradients of the embedding that both hold."""
        if layout.pp == 1 or not self.architecture.tie_embeddings:
            return 0.0
        params = self.architecture.vocab_size * self.architecture.d_model / layout.tp
        return all_reduce_seconds(self.machine, stage_group(layout), params * self.step.state.gradient)


def with_network(machine: Machine, factor: float) -> Machine:
    """The machine with its outermost links' bandwidth times a factor."""
    if factor == 1.0 or not machine.links:
        return machine
    link = machine.links[-1]
    bandwidth = link.bandwidth.model_copy(update={"value": link.bandwidth.value * factor})
    faster = link.model_copy(update={"bandwidth": bandwidth})
    return machine.model_copy(update={"links": (*machine.links[:-1], faster)})
