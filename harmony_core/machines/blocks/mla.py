"""Multi-head latent attention."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import MLA
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices
from harmony_core.machines.blocks.heads import KERNELS, Heads


@prices(MLA)
class MLACosts(BlockCosts[MLA]):
    """Of `models/mla.py`."""

    @override
    def traffic(self, block: MLA, d_model: int) -> Traffic:
        q, v = block.num_heads * block.qk_head_dim, block.num_heads * block.v_head_dim
        rebuilt = block.num_heads * (block.qk_nope_head_dim + block.v_head_dim)
        latent = block.kv_lora_rank + block.qk_rope_head_dim
        query = d_model + q if block.q_lora_rank is None else d_model + 4 * block.q_lora_rank + q
        # Down, norm (read and write), up, then keys joined with the shared rotary key.
        key_value = d_model + latent + 2 * block.kv_lora_rank + block.kv_lora_rank + rebuilt + 2 * q
        turning = 0 if block.rope_base is None else block.qk_rope_head_dim
        rotation = 2 * block.num_heads * turning + 2 * turning
        softmax = 2 * q + v + v
        kernels = 9 if block.q_lora_rank is None else 11
        return Traffic(query + key_value + rotation + softmax + v + d_model, kernels)

    @override
    def work(self, block: MLA, shape: Shape, train: bool) -> tuple[Work, Work]:
        weights, elements = block.num_active_params(shape.d_model), self.elements(block, shape)
        latents = 9 + 8 * (block.q_lora_rank is not None)
        return _heads(block).work(weights, elements, shape, train), {"kernel": KERNELS + latents}

    @override
    def kept_memory(self, block: MLA, shape: Shape) -> KeptMemory:
        heads, rank = _heads(block), block.q_lora_rank or 0
        q, v, nope = (block.num_heads * n for n in (block.qk_head_dim, block.v_head_dim, block.qk_nope_head_dim))
        # Latents before their norm, in fp32; in one tensor with the rotary key where that is fp32 already.
        latents = rank + block.kv_lora_rank + (block.qk_rope_head_dim if shape.typed_bytes == 4 else 0)
        # Latents behind their norms; queries, keys, the keys and values that were rebuilt; weights; the output.
        typed = rank + block.kv_lora_rank + 2 * q + nope + v + heads.kept_scores(shape) + v
        return KeptMemory(typed, latents + 1 + bool(rank), working_typed=heads.backward(shape))


def _heads(block: MLA) -> Heads:
    return Heads(block.num_heads, 1, block.qk_head_dim, block.v_head_dim, None)
