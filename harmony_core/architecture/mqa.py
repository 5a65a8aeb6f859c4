"""Multi-query attention: one key/value head for all query heads (Shazeer 2019, arXiv:1911.02150)."""

from __future__ import annotations

from harmony_core.architecture.attention import Attention
from harmony_core.architecture.block import Block, register
from harmony_core.architecture.mha import MHA


@register
class MQA(Attention):
    """Attention with a single key/value head; a single query head makes it mha."""

    kind = "mqa"

    @property
    def kv_heads(self) -> int:
        return 1

    def canonical(self) -> Block:
        block = super().canonical()
        return MHA(**dict(block)) if self.num_heads == 1 else block
