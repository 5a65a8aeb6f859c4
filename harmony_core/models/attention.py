"""Softmax attention with rotary positions: mha, mqa and gqa differ in the number of key/value heads alone.

B batch, T tokens, D model width, H query heads, G key/value heads, K width of queries and keys, V width of values,
C cached tokens, J turning pairs, P projected elements of queries, keys and values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import Attention
from harmony_core.architecture.rope import rotary_width
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.context_parallel.attention import attend_over_ranks
from harmony_core.models.context_parallel.group import refuse_decoding
from harmony_core.models.documents import Documents
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.attention.attention import attend, attention_path
from harmony_core.models.ops.attention.cached import attend_cached
from harmony_core.models.ops.attention.rope_table import rotary_table
from harmony_core.models.ops.attention.rotary import rotate_in_place, rotate_owned
from harmony_core.models.ops.documents import attend_documents
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.rms_norm import norm_queries_and_keys
from harmony_core.models.parameter import ParameterSpec, constant, matrix
from harmony_core.models.registry import implements


@implements("mha", "mqa", "gqa")
class AttentionModule(BlockModule):
    """One projection to queries, keys and values, attention, and one projection back.

    Args:
        config: heads, widths, key/value heads, QK norm, positions, scale, biases, gate and sinks.
        d_model: width D.
        norm_epsilon: of the QK norm.
    """

    def __init__(self, config: Attention, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.num_heads, self.kv_heads = config.num_heads, config.kv_heads
        self.head_dim, self.value_dim = config.head_dim, config.value_dim
        # Tokens that a query sees; None is all.
        self.window: int | None = None
        self.scale = 1 / math.sqrt(config.head_dim) if config.scale is None else config.scale
        self.table = None
        if config.rope_base is not None:
            turning = rotary_width(config.head_dim, config.rope_fraction)
            self.table = rotary_table(turning, config.rope_base, config.rope_scaling)
        # Gates, where there are, stand before queries, keys and values.
        self.gate_width, width = config.gate_width, config.projected_width
        inner = config.num_heads * config.value_dim
        bias = ParameterSpec(constant(0.0))
        self.qkv = self.declare("qkv", (width, d_model), matrix(d_model))
        self.qkv_bias = self.declare("qkv_bias", (width,), bias) if config.bias else None
        self.out = self.declare("out", (d_model, inner), matrix(inner, residual=True))
        self.out_bias = self.declare("out_bias", (d_model,), bias) if config.out_bias else None
        # Softmax scores are about 0 at first: a sink's weight is that of one more token.
        self.sinks = self.declare("sinks", (config.num_heads,), bias) if config.sinks else None
        self.joint_norm, (q_width, k_width) = config.qk_norm_joint, config.qk_norm_widths
        self.q_norm = RMSNorm(q_width, norm_epsilon) if config.qk_norm else None
        self.k_norm = RMSNorm(k_width, norm_epsilon) if config.qk_norm else None

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, joined_BTP = self._joined(x_BTD)
        return self._attend(gate, *self._project(joined_BTP, self._turns(x_BTD)))

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        turns_BTJ = None
        if self.table is not None:
            turns_BTJ = self.table.slice(0, x_BTD.shape[1], x_BTD.device)[documents.positions()]
        gate, joined_BTP = self._joined(x_BTD)
        qkv = self._project(joined_BTP, turns_BTJ)
        y_BTHV = attend_documents(*qkv, self.scale, self.window, documents, self.sinks)
        return self._back(gate, y_BTHV)

    def _joined(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Gates [.., H, V] or [.., H, 1] where there are, and queries, keys and values joined, [.., P]."""
        joined = linear(x, self.qkv, self.qkv_bias)
        if not self.gate_width:
            return None, joined
        gate, joined = joined.split((self.gate_width, joined.shape[-1] - self.gate_width), -1)
        return gate.unflatten(-1, (self.num_heads, -1)), joined

    def _back(self, gate: Tensor | None, y: Tensor) -> Tensor:
        """The block's output [.., D] from its gates and from attention's [.., H, V]."""
        y = y if gate is None else y * gate.sigmoid()
        return linear(y.flatten(-2), self.out, self.out_bias)

    def _attend(self, gate: Tensor | None, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGV: Tensor) -> Tensor:
        if self.context_parallel is None:
            y_BTHV = attend(q_BTHK, k_BTGK, v_BTGV, self.scale, self.window, self.sinks)
        else:
            shape = self.scale, self.window, self.context_parallel
            y_BTHV = attend_over_ranks(q_BTHK, k_BTGK, v_BTGV, *shape, self.sinks)
        return self._back(gate, y_BTHV)

    def _split(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """Heads of queries and keys, [.., H + G, K], and of values, [.., G, V]."""
        if self.head_dim == self.value_dim:
            heads = (self.num_heads + self.kv_heads, self.kv_heads)
            turning, v = joined.unflatten(-1, (-1, self.head_dim)).split(heads, -2)
            return turning, v
        values = self.kv_heads * self.value_dim
        turning, v = joined.split((joined.shape[-1] - values, values), -1)
        return turning.unflatten(-1, (-1, self.head_dim)), v.unflatten(-1, (-1, self.value_dim))

    def _normed(self, turning_BEK: Tensor, q_norm: RMSNorm, k_norm: RMSNorm) -> Tensor:
        """The QK norm of one token, without gradient; the tensor is overwritten where it is fp32."""
        if not self.joint_norm:
            weights = q_norm.weight, k_norm.weight
            return norm_queries_and_keys(turning_BEK, *weights, self.num_heads, q_norm.epsilon)
        q_BHK, k_BGK = turning_BEK.float().split((self.num_heads, self.kv_heads), 1)
        q, k = (norm(x.flatten(1)).view_as(x) for norm, x in ((q_norm, q_BHK), (k_norm, k_BGK)))
        return torch.cat((q, k), 1).float()

    def _project(self, joined_BTP: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of whole sequences as [B, T, heads, K or V]; turns are [T, J] or [B, T, J]."""
        if self.q_norm is None and self.k_norm is None and self.head_dim == self.value_dim:
            # One rotation, over all that was projected.
            joined = joined_BTP.unflatten(-1, (-1, self.head_dim))
            if turns is not None:
                joined = rotate_owned(joined, turns, self.num_heads + self.kv_heads)
            q, k, v = joined.split((self.num_heads, self.kv_heads, self.kv_heads), 2)
            return q, k, v
        turning, v = self._split(joined_BTP)
        q, k = turning.split((self.num_heads, self.kv_heads), 2)
        if self.q_norm is not None and self.k_norm is not None:
            across = 2 if self.joint_norm else 3
            q, k = (norm(x.flatten(across)).view(x.shape) for norm, x in ((self.q_norm, q), (self.k_norm, k)))
        return (q, k, v) if turns is None else (rotate_owned(q, turns), rotate_owned(k, turns), v)

    def _turns(self, x_BTD: Tensor) -> Tensor | None:
        """Each token's turns, by its position in the whole sequence."""
        cp, length = self.context_parallel, x_BTD.shape[1]
        if self.table is None:
            return None
        turns_TJ = self.table.slice(0, length if cp is None else length * cp.size, x_BTD.device)
        return turns_TJ if cp is None else cp.shard(turns_TJ, 0)

    def cache_length(self, max_context: int) -> int:
        """Tokens that the cache holds at most."""
        return max_context

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        shape, widths = (batch_size, self.kv_heads, self.cache_length(max_context)), (self.head_dim, self.value_dim)
        empty = (torch.zeros(*shape, width, device=device, dtype=dtype) for width in widths)
        return dict(zip(("keys", "values"), empty, strict=True))

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        refuse_decoding(self.context_parallel)
        gate, joined_BTP = self._joined(x_BTD)
        q_BTHK, k_BTGK, v_BTGV = self._project(joined_BTP, self._turns(x_BTD))
        length, slots = x_BTD.shape[1], state["keys"].shape[2]
        # A window's cache is a ring, in which the token at position t lies at t modulo its length.
        first = max(0, length - slots)
        place = torch.arange(first, length, device=x_BTD.device) % slots
        for name, x in (("keys", k_BTGK), ("values", v_BTGV)):
            state[name][:, :, place] = x[:, first:].transpose(1, 2).to(state[name].dtype)
        return self._attend(gate, q_BTHK, k_BTGK, v_BTGV)

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        refuse_decoding(self.context_parallel)
        keys_BGCK, values_BGCV, heads = state["keys"], state["values"], self.num_heads
        gate, joined_BP = self._joined(x_BD)
        turning, v_BGV = self._split(joined_BP)
        if self.q_norm is not None and self.k_norm is not None:
            turning = self._normed(turning, self.q_norm, self.k_norm)
        if self.table is not None:
            rotate_in_place(turning, self.table.at(position, x_BD.device))
        # Softmax does not ask for an order and keys carry their rotation, so a window's cache may be a ring.
        slots = keys_BGCK.shape[2]
        keys_BGCK.select(2, position % slots).copy_(turning[:, heads:])
        values_BGCV.select(2, position % slots).copy_(v_BGV)
        seen = min(position + 1, slots)
        q_BGRK = turning[:, :heads].reshape(len(x_BD), self.kv_heads, -1, self.head_dim).to(keys_BGCK.dtype)
        sinks_GR = None if self.sinks is None else self.sinks.view(self.kv_heads, -1)
        cache = keys_BGCK.narrow(2, 0, seen), values_BGCV.narrow(2, 0, seen)
        y_BGRV = attend_cached(q_BGRK, *cache, self.scale, sinks_GR)
        return self._back(gate, y_BGRV.flatten(1, 2))

    @override
    def kernel_path(self) -> str:
        return attention_path(self.device.type, min(self.head_dim, self.value_dim), self.window)
