"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1 and appendix C).

B batch, T tokens, D model width, H heads, N width without positions, R rotary width, K = N + R, V value width,
L width of the key/value latent, C cached tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import MLA
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.documents import Documents
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.attention.attention import attend, attention_path
from harmony_core.models.ops.attention.rope_table import rotary_table
from harmony_core.models.ops.attention.rotary import rotate_in_place, rotate_owned
from harmony_core.models.ops.documents import attend_documents
from harmony_core.models.ops.matmul import linear
from harmony_core.models.parameter import ParameterSpec, constant, matrix
from harmony_core.models.registry import implements


@implements("mla")
class MLAModule(BlockModule):
    """Keys and values rebuilt from a latent in parallel; in decoding the latent itself is attended to.

    Args:
        config: heads, widths, positions, scale, biases and the latents' epsilon.
        d_model: width D.
        norm_epsilon: of the latents' norms where the configuration has none.
    """

    def __init__(self, config: MLA, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.config = config
        self.scale = 1 / math.sqrt(config.qk_head_dim) if config.scale is None else config.scale
        self.table = None
        if config.rope_base is not None:
            self.table = rotary_table(config.qk_rope_head_dim, config.rope_base, config.rope_scaling)
        epsilon = norm_epsilon if config.latent_epsilon is None else config.latent_epsilon
        queries, q_rank = config.num_heads * config.qk_head_dim, config.q_lora_rank
        bias = ParameterSpec(constant(0.0))
        self.q_down = self.q_down_bias = self.q_norm = None
        if q_rank is not None:
            self.q_down = self.declare("q_down", (q_rank, d_model), matrix(d_model))
            self.q_down_bias = self.declare("q_down_bias", (q_rank,), bias) if config.bias else None
            self.q_norm = RMSNorm(q_rank, epsilon)
        self.q_up = self.declare("q_up", (queries, q_rank or d_model), matrix(q_rank or d_model))
        latent, down = config.kv_lora_rank, config.kv_lora_rank + config.qk_rope_head_dim
        self.kv_down = self.declare("kv_down", (down, d_model), matrix(d_model))
        self.kv_down_bias = self.declare("kv_down_bias", (down,), bias) if config.bias else None
        self.kv_norm = RMSNorm(latent, epsilon)
        rebuilt = config.num_heads * (config.qk_nope_head_dim + config.v_head_dim)
        self.kv_up = self.declare("kv_up", (rebuilt, latent), matrix(latent))
        inner = config.num_heads * config.v_head_dim
        self.out = self.declare("out", (d_model, inner), matrix(inner, residual=True))
        self.out_bias = self.declare("out_bias", (d_model,), bias) if config.bias else None

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        turns_TR = self._turns(x_BTD)
        return self._attend(x_BTD, *self._latent(x_BTD, turns_TR), turns_TR)

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        turns_TR = self._turns(x_BTD)
        turns_BTR = None if turns_TR is None else turns_TR[documents.positions()]
        return self._attend(x_BTD, *self._latent(x_BTD, turns_BTR), turns_BTR, documents)

    def _attend(
        self,
        x_BTD: Tensor,
        latent_BTL: Tensor,
        k_rope_BT1R: Tensor,
        turns: Tensor | None,
        documents: Documents | None = None,
    ) -> Tensor:
        """The output, from the latent; turns are [T, R / 2] or [B, T, R / 2]."""
        config = self.config
        q_BTHK = self._queries(x_BTD)
        if turns is not None:
            q_BTHK = rotate_owned(q_BTHK, turns, first=config.qk_nope_head_dim)
        rebuilt = linear(latent_BTL, self.kv_up).unflatten(-1, (config.num_heads, -1))
        k_nope, v_BTHV = rebuilt.split((config.qk_nope_head_dim, config.v_head_dim), -1)
        k_BTHK = torch.cat((k_nope, k_rope_BT1R.expand(-1, -1, config.num_heads, -1)), -1)
        if documents is None:
            y_BTHV = attend(q_BTHK, k_BTHK, v_BTHV, self.scale)
        else:
            y_BTHV = attend_documents(q_BTHK, k_BTHK, v_BTHV, self.scale, None, documents)
        return linear(y_BTHV.flatten(2), self.out, self.out_bias)

    def _turns(self, x_BTD: Tensor) -> Tensor | None:
        """Each token's turns, [T, R / 2]; None without positions."""
        return None if self.table is None else self.table.slice(0, x_BTD.shape[1], x_BTD.device)

    def _queries(self, x: Tensor) -> Tensor:
        """[.., H, K] of [.., D], not rotated yet."""
        if self.q_down is not None and self.q_norm is not None:
            x = self.q_norm(linear(x, self.q_down, self.q_down_bias))
        q = linear(x, self.q_up)
        return q.view(*q.shape[:-1], self.config.num_heads, -1)

    def _latent(self, x_BTD: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor]:
        """The normalised latent [B, T, L] and the rotated key [B, T, 1, R] that all heads share."""
        config = self.config
        down = linear(x_BTD, self.kv_down, self.kv_down_bias)
        latent_BTL, k_rope_BTR = down.split((config.kv_lora_rank, config.qk_rope_head_dim), -1)
        k_rope_BT1R = k_rope_BTR.unsqueeze(2)
        return self.kv_norm(latent_BTL), k_rope_BT1R if turns is None else rotate_owned(k_rope_BT1R, turns)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        width = self.config.kv_lora_rank + self.config.qk_rope_head_dim
        return {"latent": torch.zeros((batch_size, max_context, width), device=device, dtype=dtype)}

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        turns_TR = self._turns(x_BTD)
        latent_BTL, k_rope_BT1R = self._latent(x_BTD, turns_TR)
        state["latent"][:, : x_BTD.shape[1]] = torch.cat((latent_BTL, k_rope_BT1R.squeeze(2)), -1)
        return self._attend(x_BTD, latent_BTL, k_rope_BT1R, turns_TR)

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        config, cache_BCE = self.config, state["latent"]
        nope, latent = config.qk_nope_head_dim, config.kv_lora_rank
        turns_R = None if self.table is None else self.table.at(position, x_BD.device)
        down_BE = linear(x_BD, self.kv_down, self.kv_down_bias)
        if turns_R is not None:
            rotate_in_place(down_BE.unsqueeze(1)[..., latent:], turns_R)
        cache_BCE[:, position, :latent] = self.kv_norm(down_BE[:, :latent])
        cache_BCE[:, position, latent:] = down_BE[:, latent:]
        q_BHK = self._queries(x_BD)
        if turns_R is not None:
            rotate_in_place(q_BHK[..., nope:], turns_R)
        up_HEL = self.kv_up.to(q_BHK.dtype).unflatten(0, (config.num_heads, -1))
        key_up_HNL, value_up_HVL = up_HEL.split((nope, config.v_head_dim), 1)
        # The keys' up-projection is absorbed into the query, and the values' one acts on the weighted latent.
        q_BHL = torch.bmm(q_BHK[..., :nope].transpose(0, 1), key_up_HNL).transpose(0, 1)
        q_BHE = torch.cat((q_BHL, q_BHK[..., nope:]), -1).mul_(self.scale).to(cache_BCE.dtype)
        seen_BCE = cache_BCE[:, : position + 1]
        weights_BHC = torch.softmax(torch.bmm(q_BHE, seen_BCE.mT), -1)
        y_BHL = torch.bmm(weights_BHC, seen_BCE[..., :latent]).to(q_BHK.dtype)
        y_HBV = torch.bmm(y_BHL.transpose(0, 1), value_up_HVL.mT)
        return linear(y_HBV.transpose(0, 1).flatten(1), self.out, self.out_bias)

    @override
    def kernel_path(self) -> str:
        return attention_path(self.device.type, self.config.v_head_dim)
