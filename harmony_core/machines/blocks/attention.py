"""Softmax attention with projections of its own to queries, keys and values."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import Attention
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices
from harmony_core.machines.blocks.heads import KERNELS, Heads


@prices(Attention)
class AttentionCosts(BlockCosts[Attention]):
    """Of `models/attention.py`."""

    @override
    def traffic(self, block: Attention, d_model: int) -> Traffic:
        q = block.num_heads * block.head_dim
        kv = 2 * block.kv_heads * block.head_dim
        projections = d_model + q + kv + q + d_model
        rotation = 2 * q + kv if block.rope_base is not None else 0
        norms = 2 * q + kv if block.qk_norm else 0
        softmax = q + kv + q
        # Projected, opened, multiplied.
        gate = 5 * q if block.output_gate else 0
        # Projections of q, k, v and out; two rotations; two norms; SDPA.
        kernels = 4 + 2 * (block.rope_base is not None) + 2 * block.qk_norm + 1 + 2 * block.output_gate
        return Traffic(projections + rotation + norms + softmax + gate, kernels)

    @override
    def work(self, block: Attention, shape: Shape, train: bool) -> tuple[Work, Work]:
        weights, elements = block.num_active_params(shape.d_model), self.elements(block, shape)
        kernels = KERNELS + 18 * block.qk_norm + 4 * block.output_gate + 6 * block.sinks
        return _heads(block).work(weights, elements, shape, train), {"kernel": kernels}

    @override
    def kept_memory(self, block: Attention, shape: Shape) -> KeptMemory:
        q, k, heads = block.num_heads * block.head_dim, block.kv_heads * block.head_dim, _heads(block)
        typed, fp32 = q + 2 * k + heads.kept_scores(shape) + q, 0.0
        if block.qk_norm:
            # The norms keep fp32 copies of queries and keys, values the whole projection, and attention its inputs.
            typed += q + k
            fp32 += q + k + block.num_heads + block.kv_heads
        # The opened gate and what it made of the outputs.
        typed += 2 * q if block.output_gate else 0
        return KeptMemory(typed, fp32, working_typed=heads.backward(shape))


def _heads(block: Attention) -> Heads:
    repeats = block.num_heads // block.kv_heads
    return Heads(block.kv_heads, repeats, block.head_dim, block.head_dim, block.attention_window)
