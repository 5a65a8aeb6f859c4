"""What every softmax attention shares: heads, rotary positions, their costs."""

from __future__ import annotations

import math
from typing import Any

from harmony_core.architecture.block import Block, Mode


def check_rope_base(base: float | None) -> None:
    """Raises ValueError for a base that gives no rotary frequencies."""
    if base is not None and not 0 < base < math.inf:
        raise ValueError(f"rope_base is {base}; use a positive number")


class Attention(Block):
    """Softmax attention over query heads that share key/value heads; causal, with rotary positions.

    Args:
        num_heads: query heads.
        head_dim: width of a head.
        qk_norm: RMSNorm over each head of queries and keys, before the rotation.
        rope_base: base of the rotary frequencies; None means no positions at all (Jamba).
    """

    role = "mixer"
    num_heads: int
    head_dim: int
    qk_norm: bool = False
    rope_base: float | None = 10000.0

    @property
    def kv_heads(self) -> int:
        """Key/value heads, however the kind spells them."""
        raise TypeError(f"{type(self).__name__} does not say how many key/value heads it has")

    def model_post_init(self, context: Any, /) -> None:
        for name in ("num_heads", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        if self.kv_heads < 1 or self.num_heads % self.kv_heads:
            raise ValueError(f"num_kv_heads {self.kv_heads} does not divide num_heads {self.num_heads}; use a divisor")
        check_rope_base(self.rope_base)
        if self.rope_base is not None and self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary positions need an even one")

    def num_params(self, d_model: int) -> int:
        projections = d_model * self.head_dim * (2 * self.num_heads + 2 * self.kv_heads)
        return projections + (2 * self.head_dim if self.qk_norm else 0)

    def visible_context(self, context: int, mode: Mode) -> float:
        """Tokens that a query sees: all so far when decoding, their mean over a sequence otherwise."""
        return context if mode == "decode" else (context + 1) / 2

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        projections = 2 * d_model * self.head_dim * (2 * self.num_heads + 2 * self.kv_heads)
        return projections + 4 * self.num_heads * self.head_dim * self.visible_context(context, mode)

    def kv_elements_per_token(self) -> int:
        return 2 * self.kv_heads * self.head_dim
