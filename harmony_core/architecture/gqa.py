"""Grouped-query attention: groups of query heads share a key/value head (Ainslie et al. 2023, arXiv:2305.13245)."""

from __future__ import annotations

from harmony_core.architecture.attention import Attention
from harmony_core.architecture.block import Block, register
from harmony_core.architecture.mha import MHA
from harmony_core.architecture.mqa import MQA


@register
class GQA(Attention):
    """Attention with `num_kv_heads` key/value heads; 1 of them is mqa, all of them is mha."""

    kind = "gqa"
    grows = ("num_heads", "num_kv_heads")
    num_kv_heads: int

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads

    def canonical(self) -> Block:
        fields = {name: value for name, value in super().canonical() if name != "num_kv_heads"}
        if self.num_kv_heads == self.num_heads:
            return MHA(**fields)
        return MQA(**fields) if self.num_kv_heads == 1 else super().canonical()
