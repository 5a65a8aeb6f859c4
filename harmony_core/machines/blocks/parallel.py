"""Attention and Mamba-2 side by side: the sum of both, but for what stands around a block once."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import Parallel
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, costs_of, prices


@prices(Parallel)
class ParallelCosts(BlockCosts[Parallel]):
    """Of `models/parallel.py`."""

    @override
    def traffic(self, block: Parallel, d_model: int) -> Traffic:
        attention, ssm = (costs_of(branch).traffic(branch, d_model) for branch in block.branches)
        # Their sum reads two and writes one, as each factor's product reads and writes one.
        elements = attention.elements + ssm.elements + (3 + 2 * _num_factors(block)) * d_model
        return Traffic(elements, attention.kernels + ssm.kernels + 1 + _num_factors(block))

    @override
    def work(self, block: Parallel, shape: Shape, train: bool) -> tuple[Work, Work]:
        a_token: Work = {}
        once: Work = {}
        for branch in block.branches:
            of_branch = costs_of(branch).work(branch, shape, train)
            for total, part in zip((a_token, once), of_branch, strict=True):
                total |= {unit: total.get(unit, 0.0) + amount for unit, amount in part.items()}
        # Each has counted norm and residual sum; one of them is the sum of the two.
        a_token["scan_element"] += (2 * _num_factors(block) - 2) * shape.d_model
        return a_token, {"kernel": once["kernel"] + _num_factors(block) - _AROUND}

    @override
    def kept_memory(self, block: Parallel, shape: Shape) -> KeptMemory:
        attention, ssm = (costs_of(branch).kept_memory(branch, shape) for branch in block.branches)
        # With a factor the two projections read, and keep, two tensors instead of one.
        second = shape.d_model * (block.attention_in_multiplier != 1 or block.ssm_in_multiplier != 1)
        # The state space comes last and so goes back first; when attention does, what it had kept is free.
        typed, fp32 = max(
            (ssm.working_typed, ssm.working_fp32),
            (attention.working_typed - ssm.typed, attention.working_fp32 - ssm.fp32),
            key=lambda made: shape.typed_bytes * made[0] + 4 * made[1],
        )
        return KeptMemory(
            attention.typed + ssm.typed + second,
            attention.fp32 + ssm.fp32,
            # The gradient of what one reads waits for the other's.
            typed + shape.d_model,
            fp32,
            attention.once + ssm.once,
        )


# Operations around a block that both have counted: the norm's, and the residual sum's but for that of the two.
_AROUND = 8.0


def _num_factors(block: Parallel) -> int:
    """Factors that are not 1."""
    factors = (block.attention_in_multiplier, block.attention_out_multiplier)
    return sum(factor != 1 for factor in (*factors, block.ssm_in_multiplier, block.ssm_out_multiplier))
