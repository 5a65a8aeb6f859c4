"""Multi-query attention: one key/value head for all query heads (Shazeer 2019, arXiv:1911.02150)."""

from __future__ import annotations

from harmony_core.architecture.attention import Attention
from harmony_core.architecture.block import register


@register
class MQA(Attention):
    """Attention with a single key/value head."""

    kind = "mqa"

    @property
    def kv_heads(self) -> int:
        return 1
