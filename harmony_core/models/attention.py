"""Softmax attention with rotary positions: mha, mqa and gqa differ in the number of key/value heads alone.

B batch, T tokens, D model width, H query heads, G key/value heads, K head width, C cached tokens, E joined width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa
from typing_extensions import override

from harmony_core.architecture import Attention
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.attention import attend, attention_path
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.rotary import rotate
from harmony_core.models.parameter import matrix
from harmony_core.models.registry import implements


@implements("mha", "mqa", "gqa")
class AttentionModule(BlockModule):
    """One projection to queries, keys and values, attention, and one projection back.

    Args:
        config: heads, head width, key/value heads, QK norm and rotary base.
        d_model: width D.
    """

    def __init__(self, config: Attention, d_model: int) -> None:
        super().__init__()
        self.num_heads, self.kv_heads, self.head_dim = config.num_heads, config.kv_heads, config.head_dim
        self.rope_base = config.rope_base
        # Tokens that a query sees; None is all.
        self.window: int | None = None
        self.scale = 1 / math.sqrt(config.head_dim)
        width = config.head_dim * (config.num_heads + 2 * config.kv_heads)
        self.qkv = self.declare("qkv", (width, d_model), matrix(d_model))
        inner = config.head_dim * config.num_heads
        self.out = self.declare("out", (d_model, inner), matrix(inner, residual=True))
        self.q_norm = RMSNorm(config.head_dim) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim) if config.qk_norm else None

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        q_BTHK, k_BTGK, v_BTGK = self._project(x_BTD, 0)
        return linear(attend(q_BTHK, k_BTGK, v_BTGK, self.scale, self.window).flatten(2), self.out)

    def _project(self, x_BTD: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values as [B, T, heads, K]; the first token is at position `start`."""
        joined = linear(x_BTD, self.qkv).unflatten(-1, (-1, self.head_dim))
        q, k, v = joined.split((self.num_heads, self.kv_heads, self.kv_heads), 2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rope_base is not None:
            q, k = rotate(q, start, self.rope_base), rotate(k, start, self.rope_base)
        return q, k, v

    def cache_length(self, max_context: int) -> int:
        """Tokens that the cache holds at most."""
        return max_context

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        shape = (batch_size, self.kv_heads, self.cache_length(max_context), self.head_dim)
        return {name: torch.zeros(shape, device=device, dtype=dtype) for name in ("keys", "values")}

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        q_B1HK, k_B1GK, v_B1GK = self._project(x_BD.unsqueeze(1), position)
        keys_BGCK, values_BGCK = state["keys"], state["values"]
        # Softmax does not ask for an order and keys carry their rotation, so a window's cache is a ring.
        slot = position % keys_BGCK.shape[2]
        keys_BGCK[:, :, slot], values_BGCK[:, :, slot] = k_B1GK[:, 0], v_B1GK[:, 0]
        seen = min(position + 1, keys_BGCK.shape[2])
        # The query heads of a group are rows of one small product with the group's keys.
        q_BGHK = q_B1HK.to(keys_BGCK.dtype).view(x_BD.shape[0], self.kv_heads, -1, self.head_dim)
        y_BGHK = sdpa(q_BGHK, keys_BGCK[:, :, :seen], values_BGCK[:, :, :seen], scale=self.scale)
        return linear(y_BGHK.flatten(1), self.out)

    @override
    def kernel_path(self) -> str:
        return attention_path(self.device.type)
