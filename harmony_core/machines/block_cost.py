"""What each block costs one rank and one micro-batch of a layout: seconds by cause, parameters, activations.

The roofline (`predict_parts`) gives a block's time on one device; tensor and context ranks divide its arithmetic and
traffic, not the starting of its kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmony_core.architecture import Architecture, Block
from harmony_core.machines.activations import kept_bytes, working_bytes
from harmony_core.machines.blocks import Shape
from harmony_core.machines.communication import all_gather_seconds, all_reduce_seconds, all_to_all_seconds
from harmony_core.machines.layout import Layout
from harmony_core.machines.machine import Machine
from harmony_core.machines.roofline import Part, predict_parts
from harmony_core.machines.step import TrainingStep
from harmony_core.machines.topology import context_group, expert_group, tensor_group

Array = NDArray[np.float64]
# A block's time goes to these causes, shown in this order.
CAUSES = ("arithmetic", "memory", "kernels", "recomputation", "expert imbalance", "all-to-all", "tensor", "context")


@dataclass(frozen=True)
class BlockCost:
    """One block, one micro-batch forward and backward, one rank.

    Args:
        seconds: by cause, in the order of `CAUSES`; a block's own time is under what bounds it.
        dense_params: parameters that every data rank holds.
        expert_params: parameters of this rank's share of the experts.
        kept_bytes: activations that wait for the backward pass.
        working_bytes: what the backward pass makes beside them.
    """

    seconds: tuple[float, ...]
    dense_params: float
    expert_params: float
    kept_bytes: float
    working_bytes: float


@dataclass(frozen=True)
class ModelCost:
    """All blocks of an architecture, and its two ends.

    Args:
        seconds: [causes, blocks].
        dense_params: [blocks].
        expert_params: [blocks].
        kept_bytes: [blocks].
        working_bytes: [blocks].
        embedding_seconds: of the first stage, a micro-batch.
        head_seconds: of the last stage, a micro-batch, the loss included.
        optimizer_start_seconds: of starting AdamW's and clipping's kernels.
        optimizer_seconds_per_param: of what they do.
        input_bytes: a block's input, all that checkpointing keeps of it.
    """

    seconds: Array
    dense_params: Array
    expert_params: Array
    kept_bytes: Array
    working_bytes: Array
    embedding_seconds: float
    head_seconds: float
    optimizer_start_seconds: float
    optimizer_seconds_per_param: float
    input_bytes: float


def model_cost(architecture: Architecture, machine: Machine, layout: Layout, step: TrainingStep) -> ModelCost:
    """Costs of every block under a layout of which pp, dp and the ZeRO stage do not matter here.

    Args:
        architecture: the model.
        machine: one device and its links.
        layout: how the training is spread.
        step: batch, sequence length and precision.
    """
    kinds = list(dict.fromkeys(architecture.blocks))
    micro, length, split = layout.micro_batch(step.batch_size), step.sequence_length, layout.cp * layout.tp
    one_of_each = architecture.model_copy(update={"blocks": tuple(block.on_expert_rank(layout.ep) for block in kinds)})
    train = predict_parts(one_of_each, machine, "train", micro, length, step.precision)
    forward = predict_parts(one_of_each, machine, "prefill", micro, length, step.precision)
    costs = {
        block: _block_cost(block, train[i + 1], forward[i + 1], architecture.d_model, machine, layout, step)
        for i, block in enumerate(kinds)
    }
    rows = [costs[block] for block in architecture.blocks]
    starting = starting_seconds(train[-1], machine)
    return ModelCost(
        seconds=np.array([row.seconds for row in rows]).T,
        dense_params=np.array([row.dense_params for row in rows]),
        expert_params=np.array([row.expert_params for row in rows]),
        kept_bytes=np.array([row.kept_bytes for row in rows]),
        working_bytes=np.array([row.working_bytes for row in rows]),
        embedding_seconds=divided(train[0], machine, split),
        head_seconds=divided(train[len(kinds) + 1], machine, split),
        optimizer_start_seconds=starting,
        optimizer_seconds_per_param=(train[-1].seconds - starting) / one_of_each.num_params(),
        input_bytes=micro * length / layout.cp * architecture.d_model * step.state.stream,
    )


def divided(part: Part, machine: Machine, split: int) -> float:
    """A part's seconds on one of `split` ranks: (seconds - kernels) / split + kernels.

    Args:
        part: of a whole device's prediction.
        machine: gives the seconds of starting a kernel, which every rank does.
        split: ranks that share the part's arithmetic and traffic.
    """
    starting = starting_seconds(part, machine)
    return (part.seconds - starting) / split + starting


def starting_seconds(part: Part, machine: Machine) -> float:
    """What a part spends on starting its kernels, which no rank takes from another."""
    return min(part.seconds, part.kernels * machine.kernel_seconds.value)


def _block_cost(
    block: Block, train: Part, forward: Part, d_model: int, machine: Machine, layout: Layout, step: TrainingStep
) -> BlockCost:
    split = layout.cp * layout.tp
    tokens = layout.micro_batch(step.batch_size) * step.sequence_length / layout.cp
    seconds = dict.fromkeys(CAUSES, 0.0)
    seconds["arithmetic" if train.bound == "compute" else train.bound] = divided(train, machine, split)
    if layout.activation_checkpointing:
        seconds["recomputation"] = divided(forward, machine, split)
    # Three passes communicate: forward, backward, and the forward pass that is computed again.
    passes = 3 if layout.activation_checkpointing else 2
    seconds["tensor"] = passes * all_reduce_seconds(machine, tensor_group(layout), tokens * d_model * step.element)
    seconds["context"] = passes * context_seconds(block, d_model, machine, layout, step)
    routed = block.expert_params(d_model)
    if block.num_experts and layout.ep > 1:
        share = block.active_expert_params(d_model) / block.num_active_params(d_model)
        own = divided(train, machine, split) + seconds["recomputation"]
        seconds["expert imbalance"] = (step.assumptions.expert_imbalance - 1) * share * own
        seconds["all-to-all"] = passes * dispatch_seconds(block, tokens, d_model, machine, layout, step)
    # The norms' weights are the architecture's to add.
    dense = block.num_params(d_model) - routed + block.norm_params(d_model)
    kept, working = _activation_bytes(block, d_model, layout, step)
    return BlockCost(tuple(seconds.values()), dense / layout.tp, routed / layout.ep / layout.tp, kept, working)


def _activation_bytes(block: Block, d_model: int, layout: Layout, step: TrainingStep) -> tuple[float, float]:
    """Kept for the backward pass, and made by it; the busiest expert rank has more of both."""
    held = block.on_expert_rank(layout.ep)
    shape = Shape(
        d_model, layout.micro_batch(step.batch_size), step.sequence_length // layout.cp, step.element, fused=True
    )
    kept = kept_bytes(held, shape)
    if step.state.weight == step.element < 4:
        # Weights that have the type of the products need no copies in it.
        kept -= held.num_params(d_model) * step.element
    busier = step.assumptions.expert_imbalance if block.num_experts and layout.ep > 1 else 1.0
    return busier * kept / layout.tp, busier * working_bytes(held, shape) / layout.tp


def dispatch_seconds(
    block: Block, tokens: float, d_model: int, machine: Machine, layout: Layout, step: TrainingStep
) -> float:
    """Tokens to their experts and back, one pass, as the busiest rank sees it.

    2 all-to-alls of tokens x top_k x the experts' width x imbalance, less the share that is hidden.
    Tensor ranks send a share.

    Args:
        block: with routed experts.
        tokens: of a micro-batch, on one rank.
        d_model: the model's width.
        machine: gives the links.
        layout: gives the expert group and the tensor ranks.
        step: gives the bytes of an element, the imbalance and the overlap.
    """
    rows = tokens * block.experts_per_token * step.assumptions.expert_imbalance / layout.tp
    seconds = 2 * all_to_all_seconds(machine, expert_group(layout), rows * block.expert_width(d_model) * step.element)
    return seconds * (1 - step.assumptions.all_to_all_overlap)


def context_seconds(block: Block, d_model: int, machine: Machine, layout: Layout, step: TrainingStep) -> float:
    """What ranks that share a sequence tell each other in one pass.

    Args:
        block: says what it exchanges.
        d_model: the model's width.
        machine: gives the links.
        layout: gives the context group; without context ranks it is 0 seconds.
        step: gives tokens, and bytes of an element.
    """
    if layout.cp == 1:
        return 0.0
    tokens, seconds = layout.micro_batch(step.batch_size) * step.sequence_length, 0.0
    for exchange in block.context_exchanges(d_model):
        num_bytes = tokens * exchange.elements * step.element
        if exchange.pattern == "all_gather":
            seconds += all_gather_seconds(machine, context_group(layout), num_bytes)
        else:
            seconds += all_to_all_seconds(machine, context_group(layout), num_bytes / layout.cp)
    return seconds
