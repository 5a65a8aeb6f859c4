"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1 and appendix C).

B batch, T tokens, D model width, H heads, N width without positions, R rotary width, V value width,
L width of the key/value latent, C cached tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa
from typing_extensions import override

from harmony_core.architecture import MLA
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.attention import attend, attention_path
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import compute_dtype
from harmony_core.models.ops.rotary import rotate
from harmony_core.models.parameter import matrix
from harmony_core.models.registry import implements


@implements("mla")
class MLAModule(BlockModule):
    """Keys and values rebuilt from a latent in parallel; in decoding the latent itself is attended to."""

    def __init__(self, config: MLA, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.scale = 1 / math.sqrt(config.qk_head_dim)
        queries, q_rank = config.num_heads * config.qk_head_dim, config.q_lora_rank
        self.q_down = None
        if q_rank is not None:
            self.q_down = self.declare("q_down", (q_rank, d_model), matrix(d_model))
        self.q_norm = None if q_rank is None else RMSNorm(q_rank)
        self.q_up = self.declare("q_up", (queries, q_rank or d_model), matrix(q_rank or d_model))
        latent, heads = config.kv_lora_rank, config.num_heads
        self.kv_down = self.declare("kv_down", (latent + config.qk_rope_head_dim, d_model), matrix(d_model))
        self.kv_norm = RMSNorm(latent)
        rebuilt = heads * (config.qk_nope_head_dim + config.v_head_dim)
        self.kv_up = self.declare("kv_up", (rebuilt, latent), matrix(latent))
        inner = heads * config.v_head_dim
        self.out = self.declare("out", (d_model, inner), matrix(inner, residual=True))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        config = self.config
        q_nope, q_rope = self._queries(x_BTD, 0)
        latent_BTL, k_rope_BT1R = self._latent(x_BTD, 0)
        rebuilt = linear(latent_BTL, self.kv_up).unflatten(-1, (config.num_heads, -1))
        k_nope, v_BTHV = rebuilt.split((config.qk_nope_head_dim, config.v_head_dim), -1)
        q = torch.cat((q_nope, q_rope), -1)
        k = torch.cat((k_nope, k_rope_BT1R.expand(-1, -1, config.num_heads, -1)), -1)
        return linear(attend(q, k, v_BTHV, self.scale).flatten(2), self.out)

    def _queries(self, x_BTD: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """[B, T, H, N] without positions and [B, T, H, R] rotated."""
        config = self.config
        if self.q_down is not None and self.q_norm is not None:
            x_BTD = self.q_norm(linear(x_BTD, self.q_down))
        q = linear(x_BTD, self.q_up).unflatten(-1, (config.num_heads, -1))
        nope, rope = q.split((config.qk_nope_head_dim, config.qk_rope_head_dim), -1)
        return nope, rotate(rope, start, config.rope_base)

    def _latent(self, x_BTD: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """The normalised latent [B, T, L] and the shared rotary key [B, T, 1, R]."""
        config = self.config
        down = linear(x_BTD, self.kv_down)
        latent_BTL, rope_BTR = down.split((config.kv_lora_rank, config.qk_rope_head_dim), -1)
        return self.kv_norm(latent_BTL), rotate(rope_BTR.unsqueeze(2), start, config.rope_base)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        width = self.config.kv_lora_rank + self.config.qk_rope_head_dim
        return {"latent": torch.zeros((batch_size, 1, max_context, width), device=device, dtype=dtype)}

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        config, cache_B1CL = self.config, state["latent"]
        dtype = compute_dtype(x_BD)
        q_nope_B1HN, q_rope_B1HR = self._queries(x_BD.unsqueeze(1), position)
        latent_B1L, k_rope_B11R = self._latent(x_BD.unsqueeze(1), position)
        cache_B1CL[:, :, position] = torch.cat((latent_B1L, k_rope_B11R.squeeze(2)), -1)
        up_HEL = self.kv_up.to(dtype).unflatten(0, (config.num_heads, -1))
        key_up_HNL, value_up_HVL = up_HEL.split((config.qk_nope_head_dim, config.v_head_dim), 1)
        # Absorbed: the keys' up-projection acts on the query, the values' one on the weighted latent.
        q_B1HL = torch.einsum("bthn,hnl->bthl", q_nope_B1HN.to(dtype), key_up_HNL)
        q = torch.cat((q_B1HL, q_rope_B1HR.to(dtype)), -1).to(cache_B1CL.dtype)
        seen = cache_B1CL[:, :, : position + 1]
        y_B1HL = sdpa(q, seen, seen[..., : config.kv_lora_rank], scale=self.scale)
        y_BHV = torch.einsum("bhl,hvl->bhv", y_B1HL.squeeze(1).to(dtype), value_up_HVL)
        return linear(y_BHV.flatten(1), self.out)

    @override
    def kernel_path(self) -> str:
        return attention_path(self.device.type)
