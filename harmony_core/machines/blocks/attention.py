"""Softmax attention with projections of its own to queries, keys and values."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import Attention
from harmony_core.machines.blocks.costs import NORM_KERNELS, BlockCosts, KeptMemory, Shape, Traffic, Work, prices
from harmony_core.machines.blocks.heads import KERNELS, Heads


@prices(Attention)
class AttentionCosts(BlockCosts[Attention]):
    """Of `models/attention.py`."""

    @override
    def traffic(self, block: Attention, d_model: int) -> Traffic:
        q, k, v, out = _widths(block)
        projections = d_model + q + k + v + out + d_model
        rotation = 2 * q + 2 * k if block.rope_base is not None else 0
        norms = 2 * q + 2 * k if block.qk_norm else 0
        softmax = q + k + v + out
        # Projected, opened, and multiplied with the outputs, which are read and written.
        gate = 3 * block.gate_width + 2 * out if block.output_gate else 0
        # Projections of q, k, v and out; two rotations; two norms; SDPA.
        kernels = 4 + 2 * (block.rope_base is not None) + 2 * block.qk_norm + 1 + 2 * block.output_gate
        return Traffic(projections + rotation + norms + softmax + gate, kernels)

    @override
    def work(self, block: Attention, shape: Shape, train: bool) -> tuple[Work, Work]:
        weights, elements = block.num_active_params(shape.d_model), self.elements(block, shape)
        kernels = KERNELS + 2 * NORM_KERNELS * block.qk_norm + 4 * block.output_gate + 6 * block.sinks
        return _heads(block).work(weights, elements, shape, train), {"kernel": kernels}

    @override
    def kept_memory(self, block: Attention, shape: Shape) -> KeptMemory:
        (q, k, v, out), heads = _widths(block), _heads(block)
        typed, fp32 = q + k + v + heads.kept_scores(shape) + out, 0.0
        if block.qk_norm:
            # The norms keep fp32 copies of queries and keys, values the whole projection, and attention its inputs.
            typed += q + k
            fp32 += q + k + (2 if block.qk_norm_joint else block.num_heads + block.kv_heads)
        # The opened gate and what it made of the outputs.
        typed += block.gate_width + out if block.output_gate else 0
        return KeptMemory(typed, fp32, working_typed=heads.backward(shape))


def _heads(block: Attention) -> Heads:
    repeats = block.num_heads // block.kv_heads
    return Heads(block.kv_heads, repeats, block.head_dim, block.value_dim, block.attention_window)


def _widths(block: Attention) -> tuple[int, int, int, int]:
    """Elements a token of queries, keys, values and outputs."""
    q, k = block.num_heads * block.head_dim, block.kv_heads * block.head_dim
    return q, k, block.kv_heads * block.value_dim, block.num_heads * block.value_dim
